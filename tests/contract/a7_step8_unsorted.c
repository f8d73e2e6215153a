/* A7 (8): with no free neighbour, a chunk goes to the unsorted bin as it is; a chunk below the top becomes the top. */
#include "hg.h"

int main(void) {
    byte *s0 = get(32), *a = get(1000), *s1 = get(32), *b = get(2000), *s2 = get(32);
    struct walked before = walk(0);
    mark("free");
    free(a);
    free(b);
    mark("done");
    struct walked after = walk(0);
    MUST(after.chunks == before.chunks && after.binned == before.binned + 2);
    MUST(chunk_size(a) == chunk_for(1000) && chunk_size(b) == chunk_for(2000));
    MUST(after.top == before.top && after.top_size == before.top_size);
    /* Unsorted still: the next exact request takes b whole, though it was never sorted. */
    MUST(malloc(2000) == b && malloc(1000) == a);
    /* A run that ends at the top: previous, chunk and top become one. */
    byte *x = get(1000), *y = get(1000);
    free(x);
    free(y);
    MUST(walk(0).top == x);
    (void)s0, (void)s1, (void)s2;
    must_be_sound();
    return 0;
}
