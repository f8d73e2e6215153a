/* A11: two million chunks freed by another thread than the one that took them; memory stays bounded. */
#include "hg.h"
#include <sched.h>

enum { RING = 1024, COUNT = 2000000 };
static byte *ring[RING];
static unsigned put, taken;

static void *consumer(void *unused) {
    for (unsigned i = 0; i < COUNT; i++) {
        while (__atomic_load_n(&put, __ATOMIC_ACQUIRE) == i) sched_yield();
        byte *p = ring[i % RING];
        MUST(p[0] == (byte)i, "chunk %u was overwritten", i);
        free(p);
        __atomic_store_n(&taken, i + 1, __ATOMIC_RELEASE);
    }
    return unused;
}

int main(void) {
    pthread_t t;
    MUST(pthread_create(&t, NULL, consumer, NULL) == 0);
    size_t peak = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        while (i - __atomic_load_n(&taken, __ATOMIC_ACQUIRE) >= RING) sched_yield();
        size_t n = 16 + next_random() % 500;
        byte *p = get(n);
        memset(p, i, n);
        ring[i % RING] = p;
        __atomic_store_n(&put, i + 1, __ATOMIC_RELEASE);
        if (i % 100000 == 0 && resident() > peak) peak = resident();
    }
    pthread_join(t, NULL);
    if (resident() > peak) peak = resident();
    MUST(peak < 64u << 20, "%zu bytes resident, of about half a million live at most", peak);
    must_be_sound();
    return 0;
}
