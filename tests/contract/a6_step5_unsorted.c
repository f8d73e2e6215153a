/* A6 (5): the unsorted bin is looked through once: the exact fit is taken, the others are sorted into their bins. */
#include "hg.h"

int main(void) {
    void *small = get(200), *s1 = get(32), *x = get(512), *s2 = get(32), *large = get(5000), *s3 = get(32);
    void *l2 = get(6000), *s4 = get(32);
    /* No bin but unsorted holds anything; an exact fit lies among a smaller and a larger one. */
    free(large);
    free(small);
    free(x);
    MUST(malloc(512) == x, "the exact fit, not a piece of the larger one");
    MUST(is_binned(large) && chunk_size(large) == chunk_for(5000), "the larger one is whole");
    MUST(is_binned(small));
    /* The same for a large size. */
    free(l2);
    MUST(malloc(6000) == l2);
    MUST(malloc(200) == small && malloc(5000) == large);
    (void)s1, (void)s2, (void)s3, (void)s4;
    walk(0);
    must_be_sound();
    return 0;
}
