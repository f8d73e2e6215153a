/* A7 (6): merged with a free previous chunk, which the P bit tells and prev_size finds. */
#include "hg.h"

int main(void) {
    byte *before = get(32), *a = get(1000), *b = get(1500), *c = get(700), *guard = get(32);
    size_t all = chunk_size(a) + chunk_size(b) + chunk_size(c);
    free(a);
    MUST(!(chunk_flags(b) & P) && prev_size(b) == chunk_size(a));
    free(b);
    MUST(chunk_size(a) == chunk_for(1000) + chunk_for(1500), "%zu", chunk_size(a));
    free(c);
    MUST(chunk_size(a) == all && next_chunk(a) == guard && is_binned(a) && prev_size(guard) == all);
    must_be_sound();
    MUST(malloc(all - 8) == a);
    (void)before;
    walk(0);
    must_be_sound();
    return 0;
}
