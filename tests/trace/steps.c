/* Many random calls, the same in each run: steps.c STEPS THREADS. At the end, a number made of all addresses that came back, in
 * their order, relative to where the break and the first mapping were. With several threads each has its turn for a while, so
 * that runs are the same too. */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 512

/* C23; not every C library has it, Heapglass does. */
__attribute__((weak)) void free_sized(void *, size_t);

static unsigned char *live[SLOTS];
static size_t sizes[SLOTS];
static uint64_t state = 88172645463325252u, sum, steps;
static long count, threads, turn;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t done_all;
static pthread_cond_t next = PTHREAD_COND_INITIALIZER;

static uint64_t rnd(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static size_t some_size(void) {
    switch (rnd() % 16) {
    case 0: return rnd() % 200000;
    case 1: return rnd() % 20000;
    case 2: case 3: return rnd() % 3000;
    default: return rnd() % 300;
    }
}

static void note(void *p) {
    sum = (sum ^ (uint64_t)p) * 0x9e3779b97f4a7c15u + 1;
}

static void step(void) {
    int i = rnd() % SLOTS;
    size_t size = some_size();
    switch (rnd() % 8) {
    case 0:
        live[i] = realloc(live[i], size + 1);
        sizes[i] = size + 1;
        note(live[i]);
        break;
    case 1:
        if (live[i] && free_sized && rnd() % 2) {
            free_sized(live[i], sizes[i]);
            live[i] = NULL;
            break;
        }
        free(live[i]);
        live[i] = aligned_alloc(64, size);
        sizes[i] = size;
        note(live[i]);
        break;
    case 2:
        free(live[i]);
        live[i] = calloc(1, size);
        sizes[i] = size;
        note(live[i]);
        break;
    case 3:
        /* Bursts, by which caches overflow and run dry. */
        for (int k = 0; k < SLOTS / 4; k++) {
            int j = (i + k) % SLOTS;
            free(live[j]);
            live[j] = NULL;
        }
        size %= 400;
        for (int k = 0; k < SLOTS / 8; k++) {
            int j = (i + k) % SLOTS;
            live[j] = malloc(size);
            sizes[j] = size;
            note(live[j]);
        }
        break;
    default:
        if (live[i]) {
            free(live[i]);
            live[i] = NULL;
        } else {
            live[i] = malloc(size);
            sizes[i] = size;
            note(live[i]);
        }
    }
    if (live[i] && sizes[i]) memset(live[i], i, sizes[i] < 64 ? sizes[i] : 64);
}

static void *work(void *number) {
    long me = (long)number;
    for (long done = 0; done < count;) {
        pthread_mutex_lock(&lock);
        while (turn != me) pthread_cond_wait(&next, &lock);
        for (int k = 0; k < 500 && done < count; k++, done++) {
            step();
            steps++;
        }
        turn = (turn + 1) % threads;
        pthread_cond_broadcast(&next);
        pthread_mutex_unlock(&lock);
    }
    /* A thread's end sends its cache home: not while others still work. */
    if (threads > 1) pthread_barrier_wait(&done_all);
    return NULL;
}

int main(int argc, char **argv) {
    count = argc > 1 ? atol(argv[1]) : 1000;
    threads = argc > 2 ? atol(argv[2]) : 1;
    pthread_t all[16];
    count /= threads;
    if (threads == 1) {
        work(0);
    } else {
        pthread_barrier_init(&done_all, NULL, threads);
        pthread_mutex_lock(&lock);
        for (long t = 0; t < threads; t++) pthread_create(&all[t], NULL, work, (void *)t);
        pthread_mutex_unlock(&lock);
        for (long t = 0; t < threads; t++) pthread_join(all[t], NULL);
    }
    printf("%llu steps, addresses %016llx, break %p\n", (unsigned long long)steps, (unsigned long long)sum, sbrk(0));
    return 0;
}
