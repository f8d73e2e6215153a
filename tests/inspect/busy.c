/* Four threads that allocate and free all the while, each with a few thousand chunks of its own, until standard input ends. Says
 * "ready" once all are at work. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS = 4, CHUNKS = 4000 };
static atomic_int at_work, over;

static void *work(void *number) {
    static _Thread_local char *mine[CHUNKS];
    unsigned long random = 1 + (unsigned long)number;
    atomic_fetch_add(&at_work, 1);
    while (!atomic_load(&over)) {
        random = random * 6364136223846793005ul + 1442695040888963407ul;
        unsigned place = (random >> 33) % CHUNKS;
        free(mine[place]);
        size_t size = (random >> 20) % 64 == 0 ? (random >> 40) % 100000 : (random >> 40) % 1500;
        mine[place] = malloc(size);
    }
    for (int i = 0; i < CHUNKS; i++) free(mine[i]);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    while (atomic_load(&at_work) < THREADS) usleep(100);
    puts("ready");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
    atomic_store(&over, 1);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    return 0;
}
