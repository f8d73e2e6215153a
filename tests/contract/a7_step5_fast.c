/* A7 (5): chunks of up to 128 bytes go to their fast bin unmerged, and their neighbours don't notice. */
#include "hg.h"

int main(void) {
    for (size_t n = 24; n <= 120; n += 16) {
        byte *a = get(n), *b = get(n), *c = get(n);
        MUST(b - a == (long)chunk_for(n) && c - b == b - a);
        free(a);
        free(b);
        MUST(!is_binned(a) && !is_binned(b), "%zu: a fast chunk counts as in use", n);
        MUST(chunk_size(a) == chunk_for(n) && chunk_size(b) == chunk_for(n));
        byte *both = get(2 * chunk_for(n) - 8);
        MUST(both != a, "%zu: they were merged", n);
        MUST(malloc(n) == b && malloc(n) == a);
    }
    /* One size further it is otherwise. */
    byte *x = get(136), *sep = get(32);
    free(x);
    MUST(is_binned(x), "a chunk of 144 bytes is not fast");
    (void)sep;
    walk(0);
    must_be_sound();
    return 0;
}
