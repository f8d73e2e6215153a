/* One thread frees a chunk, another frees it again, the first gets it back from malloc: the second free was only noted
 * down, and when its turn came the chunk was live again, so the other thread was handed it too.
 * The argument says who frees it again: `main` or `thread`. */
#include "../contract/hg.h"

enum { N = 64, OTHER = 200 };
static pthread_barrier_t step;
static byte *p, *owned;

/* Ordinary calls, so that the ones that matter take the fast path. */
static void warm_up(void) {
    for (int i = 0; i < 3000; i++) {
        void *q[8];
        for (int j = 0; j < 8; j++) q[j] = get(N);
        for (int j = 0; j < 8; j++) free(q[j]);
    }
}

static void next(void) { pthread_barrier_wait(&step); }

static void *owner(void *unused) {
    warm_up();
    /* Pointers near a page's start are looked at more closely. */
    do p = get(N);
    while (((uintptr_t)p & 0xfff) <= 16);
    void *x = get(OTHER), *y = get(OTHER);
    free(p);
    /* Two more frees, and the first is put away. */
    free(x), free(y);
    next(); /* the other frees it again */
    next();
    for (int i = 0; i < 50 && owned != p; i++) owned = get(N);
    next(); /* the other asks for it */
    next();
    return unused;
}

static void *other(void *unused) {
    warm_up();
    void *x = get(OTHER), *y = get(OTHER), *z = get(OTHER);
    next();
    say("address %p", p);
    free(p);
    next();
    next();
    free(x), free(y), free(z);
    for (int i = 0; i < 300; i++)
        if (get(N) == owned) {
            say("two owners");
            break;
        }
    next();
    return unused;
}

int main(int argc, char **argv) {
    MUST(argc == 2);
    pthread_barrier_init(&step, NULL, 2);
    int main_frees_again = !strcmp(argv[1], "main");
    pthread_t t;
    /* Warm before there is another thread, too: a process with one thread has a way of its own. */
    warm_up();
    MUST(pthread_create(&t, NULL, main_frees_again ? owner : other, NULL) == 0);
    (main_frees_again ? other : owner)(NULL);
    pthread_join(t, NULL);
    say("survived");
    return 0;
}
