/* A12: a cache is bounded in bytes: of 200 MB that a living thread freed, a trim by another thread brings it back. */
#include "hg.h"

enum { COUNT = 200000 };
static byte *p[COUNT];
static pthread_barrier_t freed, looked;

static void *frees(void *unused) {
    for (int i = 0; i < COUNT; i++) memset(p[i] = get(1000), i, 1000);
    for (int i = 0; i < COUNT; i++) free(p[i]);
    pthread_barrier_wait(&freed);
    pthread_barrier_wait(&looked);
    return unused;
}

int main(void) {
    pthread_t t;
    pthread_barrier_init(&freed, NULL, 2);
    pthread_barrier_init(&looked, NULL, 2);
    MUST(pthread_create(&t, NULL, frees, NULL) == 0);
    pthread_barrier_wait(&freed);
    malloc_trim(0);
    MUST(resident() < 64u << 20, "%zu bytes resident while the thread lives", resident());
    must_be_sound();
    pthread_barrier_wait(&looked);
    pthread_join(t, NULL);
    return 0;
}
