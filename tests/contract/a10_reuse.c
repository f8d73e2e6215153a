/* A10: malloc, free, malloc gives the same address; with several freed, one of those freed last. */
#include "hg.h"

static void *life(void *unused) {
    static const size_t sizes[] = {0, 1, 24, 32, 100, 128, 200, 1000, 1024, 1500, 5000, 30000, 60000, 70000, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i];
        void *guard_before = get(48);
        void *a = get(n);
        void *guard = get(48);
        free(a);
        void *b = get(n);
        MUST(a == b, "malloc(%zu) %p, freed, then %p", n, a, b);
        free(b);
        void *c = get(n);
        MUST(b == c, "malloc(%zu) again: %p then %p", n, b, c);
        void *few[5];
        for (int k = 0; k < 5; k++) few[k] = get(n);
        for (int k = 0; k < 5; k++) free(few[k]);
        void *d = get(n);
        int known = 0;
        for (int k = 0; k < 5; k++) known |= d == few[k];
        MUST(known || n >= 60000, "malloc(%zu) is none of the five freed last", n);
        free(c);
        free(d);
        free(guard);
        free(guard_before);
    }
    must_be_sound();
    return unused;
}

int main(void) {
    life(NULL);
    in_thread(life, NULL);
    return 0;
}
