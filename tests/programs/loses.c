/* For valgrind: thousands of live chunks of mixed sizes, resized and checked, then freed but for 7 chunks of 1,001 bytes,
 * whose last addresses are overwritten. More small chunks than the break that valgrind grants can hold. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 20000 };

static void fill(unsigned char *p, size_t n, size_t seed) {
    for (size_t i = 0; i < n; i += 16) p[i] = (unsigned char)(seed + i / 16);
}

static size_t wrong(unsigned char *p, size_t n, size_t seed) {
    size_t bad = 0;
    for (size_t i = 0; i < n; i += 16) bad += p[i] != (unsigned char)(seed + i / 16);
    return bad;
}

static void *work(void *arg) {
    size_t scale = (size_t)arg, bad = 0;
    unsigned char **live = calloc(SLOTS, sizeof *live);
    for (size_t i = 0; i < SLOTS; i++) fill(live[i] = malloc(1 + i % 600 * scale), 1 + i % 600 * scale, i);
    for (size_t i = 0; i < SLOTS; i += 3) {
        live[i] = realloc(live[i], 2000);
        bad += wrong(live[i], 1 + i % 600 * scale, i);
        fill(live[i], 1 + i % 600 * scale, i);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        bad += wrong(live[i], 1 + i % 600 * scale, i);
        free(live[i]);
    }
    free(live);
    return (void *)bad;
}

static char *volatile lost;

int main(void) {
    pthread_t other;
    void *theirs;
    pthread_create(&other, 0, work, (void *)1);
    size_t mine = (size_t)work((void *)2);
    pthread_join(other, &theirs);
    for (int i = 0; i < 7; i++) lost = malloc(1001);
    lost = 0;
    printf("wrong %zu\n", mine + (size_t)theirs);
    return 0;
}
