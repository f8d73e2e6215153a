/* A6 (4): a small bin holds exactly that size and is asked before the unsorted bin, the large ones and the top. */
#include "hg.h"

int main(void) {
    void *x = get(200), *s1 = get(32), *y = get(200), *s2 = get(32), *large = get(3000), *s3 = get(32);
    free(x);
    free(large);
    void *sorts = get(9000);
    MUST(sorts != x && sorts != large);
    free(y);
    MUST(is_binned(x) && is_binned(y));
    /* x is in its small bin, y of the same size still unsorted. */
    MUST(malloc(200) == x, "the small bin comes first");
    MUST(malloc(200) == y);
    MUST(malloc(3000) == large);
    (void)s1, (void)s2, (void)s3;
    walk(0);
    must_be_sound();
    return 0;
}
