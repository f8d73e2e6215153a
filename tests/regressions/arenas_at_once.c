/* Thirty-two threads make their first call at the same moment, so that many want an arena while there is room for few. Once
 * each that had seen room made one. malloc_info at the end lists them. */
#include "../contract/hg.h"

enum { THREADS = 32 };
static pthread_barrier_t start, seen;

static void *life(void *unused) {
    pthread_barrier_wait(&start);
    byte *p = get(100);
    pthread_barrier_wait(&seen);
    pthread_barrier_wait(&seen);
    free(p);
    return unused;
}

int main(void) {
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    pthread_t t[THREADS];
    pthread_barrier_init(&start, NULL, THREADS);
    pthread_barrier_init(&seen, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) MUST(pthread_create(&t[i], NULL, life, NULL) == 0);
    pthread_barrier_wait(&seen);
    malloc_info(0, stdout);
    fflush(stdout);
    pthread_barrier_wait(&seen);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    must_be_sound();
    return 0;
}
