/* A11: threads that live side by side get arenas of their own, the least used first. malloc_info at the end lists them.
 * Arguments: how many threads, how many of them must be outside the main arena (-1: any), one processor only (1). */
#include "hg.h"
#include <sched.h>

static pthread_barrier_t all_there, all_seen;

static void *holder(void *slot) {
    byte *p = get(100);
    *(byte **)slot = p;
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&all_seen);
    free(p);
    return NULL;
}

int main(int argc, char **argv) {
    int threads = atoi(argv[1]), outside = atoi(argv[2]);
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    if (argc > 3 && !getenv("ONE_PROCESSOR")) {
        cpu_set_t one;
        CPU_ZERO(&one);
        MUST(sched_getaffinity(0, sizeof one, &one) == 0);
        int first = 0;
        while (!CPU_ISSET(first, &one)) first++;
        CPU_ZERO(&one);
        CPU_SET(first, &one);
        MUST(sched_setaffinity(0, sizeof one, &one) == 0);
        setenv("ONE_PROCESSOR", "1", 1);
        execv("/proc/self/exe", argv);
    }
    byte *mine = get(100);
    MUST(!(chunk_flags(mine) & A) && in_break(mine), "the first thread has the main arena");
    static pthread_t t[64];
    static byte *p[64];
    pthread_barrier_t *b = &all_there;
    pthread_barrier_init(b, NULL, threads + 1);
    pthread_barrier_init(&all_seen, NULL, threads + 1);
    for (int i = 0; i < threads; i++) {
        MUST(pthread_create(&t[i], NULL, holder, &p[i]) == 0);
        /* One after another, so that "least used" has one answer. */
        while (!__atomic_load_n(&p[i], __ATOMIC_ACQUIRE)) sched_yield();
    }
    pthread_barrier_wait(b);
    int foreign = 0;
    for (int i = 0; i < threads; i++) {
        int flag = (chunk_flags(p[i]) & A) != 0;
        MUST(flag == !in_break(p[i]), "flag %d at %p", flag, p[i]);
        foreign += flag;
    }
    MUST(outside < 0 || foreign == outside, "%d of %d threads are outside the main arena", foreign, threads);
    must_be_sound();
    malloc_info(0, stdout);
    fflush(stdout);
    pthread_barrier_wait(&all_seen);
    for (int i = 0; i < threads; i++) pthread_join(t[i], NULL);
    must_be_sound();
    return 0;
}
