/* heapglass_check beside threads that map and unmap: once it believed mappings whose header wasn't written yet, or was gone. */
#include "../contract/hg.h"

enum { THREADS = 4, CHECKS = 10000 };
static int stop;

static void *maps(void *unused) {
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) free(get(200000));
    return unused;
}

int main(void) {
    mallopt(M_MMAP_THRESHOLD, 131072);
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) MUST(pthread_create(&t[i], NULL, maps, NULL) == 0);
    for (int i = 0; i < CHECKS; i++) must_be_sound();
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    must_be_sound();
    return 0;
}
