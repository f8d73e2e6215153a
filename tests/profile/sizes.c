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
SITE(of_1024, 1024)
SITE(of_2000, 2000)
SITE(of_3000, 3000)
SITE(of_3576, 3576)
SITE(of_3577, 3577)
SITE(of_4100, 4100)
SITE(of_16000, 16000)
SITE(of_40000, 40000)
SITE(of_65000, 65000)
SITE(of_100000, 100000)
SITE(of_200000, 200000)

/* The same again, by turns in one window. */
SITE(mixed_24, 24)
SITE(mixed_1000, 1000)
SITE(mixed_1200, 1200)
SITE(mixed_2500, 2500)
SITE(mixed_9000, 9000)

/* Allocated by one thread, freed by another. */
SITE(handed_100, 100)
SITE(handed_2000, 2000)
SITE(handed_3000, 3000)
SITE(handed_30000, 30000)

/* From 1,000 bytes, and so from one place to another. */
#define GROWS(name, bytes)                                                                                             \
    __attribute__((noinline)) static void *name(void *old) { return realloc(old, bytes); }
GROWS(to_3000, 3000)
GROWS(to_20000, 20000)

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

static unsigned drawn(unsigned *state) {
    *state = *state * 1103515245 + 12345;
    return *state >> 16;
}

static void mix(long count) {
    void *live[300] = {NULL};
    unsigned state = 54321;
    for (long i = 0; i < count; i++) {
        /* The first ones are freed at random, so it matters to each what the others do. */
        void **at = &live[drawn(&state) % 300];
        free(*at);
        switch (i * 7 % 16) {
        case 0: *at = mixed_9000(); break;
        case 1: case 2: case 3: *at = mixed_2500(); break;
        case 4: case 5: case 6: *at = mixed_1200(); break;
        case 7: case 8: case 9: *at = mixed_1000(); break;
        default: *at = mixed_24();
        }
    }
    for (int i = 0; i < 300; i++)
        free(live[i]);
}

/* Places where the two threads meet. What one finds there it frees. */
static void *places[64];

static void hand(void *(*make)(void), long count) {
    for (long i = 0; i < count; i++)
        free(__atomic_exchange_n(&places[i % 64], make(), __ATOMIC_ACQ_REL));
}

static void grow(void *(*to)(void *), long count) {
    for (long i = 0; i < count; i++) {
        void *first = malloc(1000), *behind = malloc(1000);
        free(to(first));
        free(behind);
    }
}

static void *work(void *scale_of) {
    long scale = *(long *)scale_of;
    churn(of_24, 8000000 * scale / 100, 1);
    churn(of_24, 8000000 * scale / 100, 1000);
    churn(of_200, 2000000 * scale / 100, 3000);
    churn(of_1000, 1000000 * scale / 100, 10);
    churn(of_1016, 1000000 * scale / 100, 200);
    churn(of_1024, 1000000 * scale / 100, 1);
    churn(of_2000, 600000 * scale / 100, 1);
    churn(of_3000, 400000 * scale / 100, 50);
    churn(of_3576, 400000 * scale / 100, 300);
    churn(of_3577, 400000 * scale / 100, 300);
    churn(of_4100, 400000 * scale / 100, 20);
    churn(of_16000, 100000 * scale / 100, 30);
    churn(of_40000, 40000 * scale / 100, 10);
    churn(of_65000, 40000 * scale / 100, 3);
    churn(of_100000, 20000 * scale / 100, 3);
    mix(2000000 * scale / 100);
    hand(handed_100, 2000000 * scale / 100);
    hand(handed_2000, 400000 * scale / 100);
    hand(handed_3000, 400000 * scale / 100);
    hand(handed_30000, 40000 * scale / 100);
    grow(to_3000, 300000 * scale / 100);
    grow(to_20000, 60000 * scale / 100);
    churn(of_200000, 8000 * scale / 100, 4);
    return NULL;
}

int main(int argc, char **argv) {
    long scale = argc > 1 ? atol(argv[1]) : 100;
    pthread_t thread;
    pthread_create(&thread, NULL, work, &scale);
    work(&scale);
    pthread_join(thread, NULL);
    for (int i = 0; i < 64; i++)
        free(places[i]);
    return 0;
}
