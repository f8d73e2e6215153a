/* A6 (3): a fast size comes from its fast bin, last in first out, though top and a larger free chunk could serve it. */
#include "hg.h"

int main(void) {
    for (size_t n = 24; n <= 120; n += 16) {
        void *large = get(2000), *a = get(n), *b = get(n), *c = get(n), *guard = get(n);
        free(large);
        free(a);
        free(b);
        free(c);
        MUST(malloc(n) == c && malloc(n) == b && malloc(n) == a, "%zu bytes", n);
        MUST(malloc(2000) == large, "the larger free chunk was not touched");
        (void)guard;
    }
    walk(0);
    must_be_sound();
    return 0;
}
