/* Allocates requests whose sum it knows, in one of several ways; says how many chunks it keeps, what was asked for in them, and the same of
 * those that are mappings of their own; then waits until standard input ends. */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 200000, MAPPED = 5 };
static struct {
    char *user;
    size_t request;
} kept[MOST];
static char *mapped[MAPPED];
static uint64_t seed = 1;

static size_t up_to(size_t most) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return 1 + (size_t)((seed >> 33) * most >> 31);
}

static void put(int index, size_t request) {
    free(kept[index].user);
    kept[index].user = malloc(request);
    kept[index].request = request;
    if (kept[index].user == NULL) abort();
    *kept[index].user = 1;
}

static void drop(int from, int to) {
    for (int i = from; i < to; i++) {
        free(kept[i].user);
        kept[i].user = NULL;
    }
}

/* A few lengths, each always the same. */
static void same(void) {
    for (int i = 0; i < 150000; i++) put(i, i < 100000 ? 100 : 1000);
}

static void varied(void) {
    for (int i = 0; i < MOST; i++) put(i, up_to(1 << up_to(11)));
}

/* Two requests of the same class by turns: one refill in two sees either. */
static void turns(void) {
    for (int i = 0; i < MOST; i++) put(i, i % 2 == 0 ? 89 : 104);
}

/* The same once more, out of what was freed before. */
static void turns_again(void) {
    turns();
    drop(0, MOST);
    turns();
}

/* One request's chunks go, another's come in the same class. */
static void phases(void) {
    for (int i = 0; i < MOST; i++) put(i, 104);
    drop(0, MOST);
    for (int i = 0; i < MOST / 2; i++) put(i, 89);
}

/* One request at first, then each is replaced by others. */
static void replaced(void) {
    for (int i = 0; i < 50000; i++) put(i, 264);
    for (int i = 0; i < 200000; i++) put((int)up_to(50000) - 1, 249 + up_to(8));
}

/* Few chunks, as in a small program. */
static void few(void) {
    for (int i = 0; i < 300; i++) put(i, up_to(300));
}

/* Buffers that grow to their length, or are cut to it. */
static void resized(void) {
    for (int i = 0; i < 20000; i++) {
        size_t request = 100 + up_to(2000);
        put(i, i % 2 == 0 ? 16 : 4000);
        kept[i].user = realloc(kept[i].user, request);
        kept[i].request = request;
        if (kept[i].user == NULL) abort();
    }
}

static void aligned(void) {
    for (int i = 0; i < 20000; i++) {
        kept[i].request = 200 + up_to(40);
        kept[i].user = memalign(64, kept[i].request);
        if (kept[i].user == NULL) abort();
    }
}

static void *part(void *from) {
    int first = (int)(intptr_t)from;
    uint32_t own = (uint32_t)first + 1;
    for (int i = first; i < first + MOST / 4; i++) {
        own = own * 1664525 + 1013904223;
        put(i, 1 + (own >> 21));
    }
    return NULL;
}

static void threads(void) {
    pthread_t all[4];
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&all[i], NULL, part, (void *)(intptr_t)(i * (MOST / 4))) != 0) abort();
    }
    for (int i = 0; i < 4; i++) pthread_join(all[i], NULL);
}

int main(int count, char **words) {
    static char out[1 << 12];
    setvbuf(stdout, out, _IOFBF, sizeof out);
    static const struct {
        const char *name;
        void (*work)(void);
    } ways[] = {
        {"same", same}, {"varied", varied}, {"turns", turns}, {"turns-again", turns_again}, {"phases", phases}, {"replaced", replaced},
        {"few", few}, {"resized", resized}, {"aligned", aligned}, {"threads", threads},
    };
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        if (count > 1 && strcmp(words[1], ways[way].name) == 0) ways[way].work();
    }
    size_t chunks = 0, asked = 0, asked_mapped = 0;
    for (int i = 0; i < MOST; i++) {
        chunks += kept[i].user != NULL;
        asked += kept[i].user != NULL ? kept[i].request : 0;
    }
    for (int i = 0; i < MAPPED; i++) {
        size_t request = 200000 + (size_t)i * 12345;
        mapped[i] = malloc(request);
        if (i % 2 == 1) mapped[i] = realloc(mapped[i], request += 100001);
        asked_mapped += request;
    }
    printf("chunks %zu\nasked %zu\nmapped %zu\nready\n", chunks, asked, asked_mapped);
    fflush(stdout);
    char byte;
    return read(0, &byte, 1) > 0;
}
