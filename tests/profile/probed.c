/* Waits for a line, allocates so much that tracers have something to see, and says how much that was. */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT 1000000

static void *volatile kept[1000];

static void *in_thread(void *unused) {
    void *large[400];
    /* More than one heap of an arena's has room for at first, and back again. */
    for (int i = 0; i < 400; i++)
        large[i] = malloc(100000);
    for (int i = 0; i < 400; i++)
        free(large[i]);
    return unused;
}

int main(void) {
    /* Past the first calls, which are taken one by one. */
    for (int i = 0; i < 2000; i++)
        free(malloc(100));
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    mallopt(M_TRIM_THRESHOLD, 200000);
    for (int i = 0; i < COUNT; i++) {
        free(kept[i % 1000]);
        kept[i % 1000] = malloc(1000);
    }
    for (int i = 0; i < 1000; i++)
        free(kept[i]);
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    malloc_trim(0);
    puts("ready");
    fflush(stdout);
    return getchar() != EOF;
}
