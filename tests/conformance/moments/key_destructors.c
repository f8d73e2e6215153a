/* Destructors of thread-specific data may allocate and free in every one of their rounds, in an order that nobody knows,
 * and what they free of a thread's memory isn't lost. */
#include "../expect.h"
#include <limits.h>
#include <pthread.h>

enum { KEYS = 3, THREADS = 1500 };
static pthread_key_t key[KEYS];
static int rounds;

struct mine {
    int key, round;
    char *held[20];
};

static void take(struct mine *m) {
    for (int i = 0; i < 20; i++) {
        m->held[i] = malloc(200 + 300 * i);
        NEED(m->held[i], "malloc");
        fill(m->held[i], m->key + m->round, 0, 200);
    }
}

static void leave(void *value) {
    struct mine *m = value;
    for (int i = 0; i < 20; i++) {
        EXPECT(intact(m->held[i], m->key + m->round, 200) == 200, "key %d, round %d: contents", m->key, m->round);
        free(m->held[i]);
    }
    __atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
    if (++m->round == PTHREAD_DESTRUCTOR_ITERATIONS) {
        free(m);
        return;
    }
    take(m);
    NEED(pthread_setspecific(key[m->key], m) == 0, "pthread_setspecific");
}

static void *work(void *unused) {
    for (int k = 0; k < KEYS; k++) {
        struct mine *m = malloc(sizeof *m);
        NEED(m, "malloc");
        m->key = k;
        m->round = 0;
        take(m);
        NEED(pthread_setspecific(key[k], m) == 0, "pthread_setspecific");
    }
    return unused;
}

static void batch(int threads) {
    pthread_t thread[4];
    for (int i = 0; i < threads; i += 4) {
        for (int k = 0; k < 4; k++) NEED(pthread_create(&thread[k], NULL, work, NULL) == 0, "pthread_create");
        for (int k = 0; k < 4; k++) pthread_join(thread[k], NULL);
    }
}

int main(void) {
    /* One key before the first allocation and some after it: ours lies between or before. */
    NEED(pthread_key_create(&key[0], leave) == 0, "pthread_key_create");
    free(malloc(10));
    for (int k = 1; k < KEYS; k++) NEED(pthread_key_create(&key[k], leave) == 0, "pthread_key_create");
    batch(100);
    size_t before = resident();
    batch(THREADS);
    size_t after = resident();
    EXPECT(rounds == (THREADS + 100) * KEYS * PTHREAD_DESTRUCTOR_ITERATIONS, "%d rounds", rounds);
    /* A thread's rounds use 180 KB each: kept by every thread, that would be 270 MB. */
    EXPECT(after < before + 20 * MIB, "%zu KiB more resident after %d threads", (after - before) >> 10, THREADS);
    return finish();
}
