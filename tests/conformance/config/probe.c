/* Shows what the configuration did, as one word or number on standard output: the test sets the variables and judges.
 *   where BYTES     `break` or `mapping`: where a request of a fresh process lands
 *   back            by how many bytes the break moves back when 20 MB at the top are freed
 *   step            by how many bytes the break moves at a time
 *   arenas          how many arenas twelve threads share
 *   secure BYTES    as `where`, after the word `secure` if the kernel calls this process privileged */
#include "../expect.h"
#include <malloc.h>
#include <pthread.h>
#include <sys/auxv.h>

enum { THREADS = 12 };
static pthread_barrier_t all_there, counted;

static void where(size_t n) {
    char *p = malloc(n);
    NEED(p, "malloc(%zu)", n);
    say("%s", in_break(p) ? "break" : "mapping");
    free(p);
}

static void back(void) {
    static char *block[200];
    for (size_t i = 0; i < COUNT(block); i++) {
        block[i] = malloc(100000);
        NEED(block[i], "malloc");
        memset(block[i], 1, 100000);
    }
    char *high = sbrk(0);
    for (size_t i = COUNT(block); i-- > 0;) free(block[i]);
    say("%zu", (size_t)(high - (char *)sbrk(0)));
}

static void step(void) {
    char *now = sbrk(0), *last = now;
    /* The first moves may owe something to the start; the third is like all that follow. */
    for (int moves = 0; moves < 3;) {
        NEED(malloc(1000), "malloc");
        if (sbrk(0) == now) continue;
        last = now;
        now = sbrk(0);
        moves++;
    }
    say("%zu", (size_t)(now - last));
}

static void *hold(void *unused) {
    char *p = malloc(100);
    NEED(p, "malloc");
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&counted);
    free(p);
    return unused;
}

static void arenas(void) {
    pthread_t thread[THREADS];
    pthread_barrier_init(&all_there, NULL, THREADS + 1);
    pthread_barrier_init(&counted, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) NEED(pthread_create(&thread[i], NULL, hold, NULL) == 0, "pthread_create");
    pthread_barrier_wait(&all_there);
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    NEED(stream && malloc_info(0, stream) == 0, "malloc_info");
    fclose(stream);
    int count = 0;
    for (char *at = text; (at = strstr(at, "<heap nr=")); at++) count++;
    free(text);
    pthread_barrier_wait(&counted);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    say("%d", count);
}

int main(int count, char **args) {
    NEED(count >= 2, "what to show?");
    size_t n = count > 2 ? strtoul(args[2], NULL, 0) : 0;
    if (!strcmp(args[1], "where")) where(n);
    else if (!strcmp(args[1], "back")) back();
    else if (!strcmp(args[1], "step")) step();
    else if (!strcmp(args[1], "arenas")) arenas();
    else if (!strcmp(args[1], "secure")) say("%s", getauxval(AT_SECURE) ? "secure " : ""), where(n);
    else NEED(0, "%s?", args[1]);
    return finish();
}
