/* A7 (7): merged with a free next chunk, or with the top. */
#include "hg.h"

int main(void) {
    byte *a = get(1000), *b = get(1500), *guard = get(32);
    size_t both = chunk_size(a) + chunk_size(b);
    free(b);
    MUST(chunk_flags(b) & P && is_binned(b));
    free(a);
    MUST(chunk_size(a) == both && next_chunk(a) == guard && is_binned(a) && prev_size(guard) == both);
    must_be_sound();
    MUST(malloc(both - 8) == a);

    byte *last = get(2000);
    struct walked before = walk(0);
    MUST(before.top == next_chunk(last));
    free(last);
    struct walked after = walk(0);
    MUST(after.top == last && after.top_size == before.top_size + chunk_for(2000));
    MUST(malloc(300) == last);
    must_be_sound();
    return 0;
}
