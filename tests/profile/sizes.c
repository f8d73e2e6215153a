/* N allocations of each of several sizes, kept and freed in turns, some by one thread and some by another: what a sampled profile
 * estimates is known. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Each has a line of its own. */
#define SITE(name, bytes)                                                                                              \
    __attribute__((noinline)) static void *name(void) { return malloc(bytes); }
SITE(of_24, 24)
SITE(of_200, 200)
SITE(of_1000, 1000)
SITE(of_1016, 1016)
SITE(of_3000, 3000)
SITE(of_40000, 40000)
SITE(of_200000, 200000)

/* A window of live chunks, replaced at random: traffic that never leaves the caches, and traffic that does. */
static void churn(void *(*make)(void), long count, int window) {
    void **live = calloc(window, sizeof *live);
    unsigned state = 12345;
    for (long i = 0; i < count; i++) {
        state = state * 1103515245 + 12345;
        int at = (state >> 16) % window;
        free(live[at]);
        live[at] = make();
    }
    for (int i = 0; i < window; i++)
        free(live[i]);
    free(live);
}

static void *work(void *scale_of) {
    long scale = *(long *)scale_of;
    churn(of_24, 8000000 * scale / 100, 1);
    churn(of_24, 8000000 * scale / 100, 1000);
    churn(of_200, 2000000 * scale / 100, 3000);
    churn(of_1000, 1000000 * scale / 100, 10);
    churn(of_1016, 1000000 * scale / 100, 200);
    churn(of_3000, 400000 * scale / 100, 50);
    churn(of_40000, 40000 * scale / 100, 10);
    churn(of_200000, 8000 * scale / 100, 4);
    return NULL;
}

int main(int argc, char **argv) {
    long scale = argc > 1 ? atol(argv[1]) : 100;
    pthread_t thread;
    pthread_create(&thread, NULL, work, &scale);
    work(&scale);
    pthread_join(thread, NULL);
    return 0;
}
