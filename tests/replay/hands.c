/* Chunks that go from hand to hand: hands.c COUNT BYTES. One thread allocates, a second lengthens, a third frees, each with requests
 * that tell the calls apart; the main thread keeps a table of aligned chunks, and makes a thread again and again that leaves something behind.
 * BYTES are allocated once, and never written to. */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOM 64

struct lane {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    void *held[ROOM];
    long first, last;
};

static struct lane lanes[2] = {
    {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0, 0},
    {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0, 0},
};
static long count;
static void *left[100];

static void send(struct lane *lane, void *p) {
    pthread_mutex_lock(&lane->lock);
    while (lane->last - lane->first == ROOM) pthread_cond_wait(&lane->moved, &lane->lock);
    lane->held[lane->last++ % ROOM] = p;
    pthread_cond_broadcast(&lane->moved);
    pthread_mutex_unlock(&lane->lock);
}

static void *receive(struct lane *lane) {
    pthread_mutex_lock(&lane->lock);
    while (lane->last == lane->first) pthread_cond_wait(&lane->moved, &lane->lock);
    void *p = lane->held[lane->first++ % ROOM];
    pthread_cond_broadcast(&lane->moved);
    pthread_mutex_unlock(&lane->lock);
    return p;
}

static void *allocates(void *unused) {
    (void)unused;
    for (long i = 0; i < count; i++) send(&lanes[0], malloc(100 + i % 1000));
    return NULL;
}

static void *lengthens(void *unused) {
    (void)unused;
    for (long i = 0; i < count; i++) send(&lanes[1], realloc(receive(&lanes[0]), 3000 + i % 1000));
    return NULL;
}

static void *frees(void *unused) {
    (void)unused;
    for (long i = 0; i < count; i++) free(receive(&lanes[1]));
    return NULL;
}

static void *leaves(void *number) {
    left[(long)number] = calloc(7, 1000 + (long)number);
    free(malloc(50));
    return NULL;
}

int main(int argc, char **argv) {
    count = argc > 1 ? atol(argv[1]) : 1000;
    if (argc > 2) free(malloc(atol(argv[2])));
    void *(*works[])(void *) = {allocates, lengthens, frees};
    pthread_t all[3], one;
    for (int i = 0; i < 3; i++) pthread_create(&all[i], NULL, works[i], NULL);
    for (long i = 0; i < 100; i++) {
        void *p = memalign(256, 10000 + i);
        pthread_create(&one, NULL, leaves, (void *)i);
        pthread_join(one, NULL);
        free(p);
    }
    for (int i = 0; i < 3; i++) pthread_join(all[i], NULL);
    for (int i = 0; i < 50; i++) free(left[i]);
    puts("done");
    return 0;
}
