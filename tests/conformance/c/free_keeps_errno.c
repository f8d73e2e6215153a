/* free keeps errno on every way it can take: small, large, mapped, trimming the break, from another thread. */
#include "../expect.h"
#include <malloc.h>
#include <pthread.h>

static void release(void *p, const char *what) {
    errno = 1234;
    free(p);
    EXPECT(errno == 1234, "%s: errno became %d", what, errno);
}

static void *elsewhere(void *blocks) {
    void **p = blocks;
    for (int i = 0; i < 100; i++) release(p[i], "from another thread");
    return NULL;
}

int main(void) {
    size_t sizes[] = {0, 1, 100, 1000, 2000, 20000, 70000, 100000, 131072, 200000, 4 * MIB, 40 * MIB};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *many[64];
        size_t count = sizes[i] > MIB ? 3 : 64;
        for (size_t k = 0; k < count; k++) {
            many[k] = malloc(sizes[i]);
            NEED(many[k], "malloc(%zu)", sizes[i]);
        }
        /* In this order chunks merge with the one before, the one after, and both. */
        for (size_t k = 0; k < count; k += 2) release(many[k], "every other");
        for (size_t k = 1; k < count; k += 2) release(many[k], "the rest");
    }

#ifdef __GLIBC__
    /* The top of the heap grows far over the trim threshold, so that freeing it moves the break. */
    NEED(mallopt(M_MMAP_THRESHOLD, 16 * MIB) == 1, "mallopt");
    NEED(mallopt(M_TRIM_THRESHOLD, 128 * KIB) == 1, "mallopt");
    static char *top[100];
    for (int round = 0; round < 3; round++) {
        for (size_t k = 0; k < COUNT(top); k++) {
            top[k] = malloc(300000);
            NEED(top[k], "malloc(300000)");
            memset(top[k], 1, 300000);
        }
        char *high = sbrk(0);
        for (size_t k = COUNT(top); k-- > 0;) release(top[k], "at the top of the heap");
        EXPECT((char *)sbrk(0) < high, "the break did not move back");
    }
#endif

    void *handed[100];
    for (size_t k = 0; k < COUNT(handed); k++) handed[k] = malloc(k * 3000);
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, elsewhere, handed) == 0, "pthread_create");
    pthread_join(thread, NULL);
    release(memalign(8192, 100), "aligned");
    release(memalign(2 * MIB, 3 * MIB), "aligned and mapped");
    return finish();
}
