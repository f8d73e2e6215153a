/* Allocations at known places: see the comments behind them, which the test looks for. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT 1000

static void *kept[COUNT];
static void *large[8];

__attribute__((noinline)) static void *small_and_kept(void) {
    return malloc(100); /* kept */
}

__attribute__((always_inline)) static inline void *inlined(size_t size) {
    return malloc(size); /* inlined */
}

__attribute__((noinline)) static void large_and_freed(void) {
    for (int i = 0; i < 8; i++)
        large[i] = inlined(1 << 20); /* caller */
    for (int i = 0; i < 8; i++)
        memset(large[i], 1, 1 << 20);
    for (int i = 0; i < 8; i++)
        free(large[i]);
}

__attribute__((noinline)) static void temporary(void) {
    for (int i = 0; i < COUNT; i++) {
        void *p = malloc(64); /* temporary */
        free(p);
    }
}

__attribute__((noinline)) static void *grown(void) {
    char *p = malloc(10); /* before */
    for (int size = 1000; size <= 20000; size += 1000)
        p = realloc(p, size); /* grown */
    return p;
}

static void *in_thread(void *unused) {
    (void)unused;
    static void *of_thread[COUNT];
    for (int i = 0; i < COUNT; i++)
        of_thread[i] = calloc(1, 200); /* thread */
    return NULL;
}

int main(int argc, char **argv) {
    for (int i = 0; i < COUNT; i++)
        kept[i] = small_and_kept(); /* main */
    large_and_freed();
    temporary();
    kept[0] = grown();
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        _exit(3);
    if (argc > 1 && strcmp(argv[1], "kill") == 0)
        kill(getpid(), 9);
    return 0;
}
