/* A10: malloc, free, malloc gives the same address; with several freed, one of those freed last. The argument is the size,
 * a fresh process each, so that nothing else of it is free; a second one leaves out what only a cache promises. */
#include "hg.h"

static size_t n;
static int cached;

static void *life(void *unused) {
    void *guard_before = get(48);
    void *a = get(n);
    void *guard = get(48);
    for (int i = 0; i < 3; i++) {
        free(a);
        void *b = get(n);
        MUST(a == b, "malloc(%zu) %p, freed, then %p", n, a, b);
    }
    if (cached) {
        void *few[5];
        for (int k = 0; k < 5; k++) few[k] = get(n);
        for (int k = 0; k < 5; k++) free(few[k]);
        void *d = get(n);
        int known = 0;
        for (int k = 0; k < 5; k++) known |= d == few[k];
        MUST(known, "malloc(%zu) is none of the five freed last", n);
        free(d);
    }
    free(a);
    free(guard);
    free(guard_before);
    must_be_sound();
    return unused;
}

int main(int argc, char **argv) {
    n = strtoul(argv[1], NULL, 10);
    cached = argc < 3 && n < 60000;
    life(NULL);
    in_thread(life, NULL);
    return 0;
}
