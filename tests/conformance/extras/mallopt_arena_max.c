/* M_ARENA_MAX bounds the arenas, however many threads there are. */
#include "../expect.h"
#include <malloc.h>
#include <pthread.h>

enum { THREADS = 12 };
static pthread_barrier_t all_there, counted;

static void *hold(void *unused) {
    (void)unused;
    char *p = malloc(100);
    NEED(p, "malloc");
    memset(p, 1, 100);
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&counted);
    free(p);
    return NULL;
}

static int arenas(void) {
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    NEED(stream && malloc_info(0, stream) == 0, "malloc_info");
    fclose(stream);
    int count = 0;
    for (char *at = text; (at = strstr(at, "<heap nr=")); at++) count++;
    free(text);
    return count;
}

int main(int count, char **args) {
    int bound = count > 1 ? atoi(args[1]) : 0;
    if (bound) EXPECT(mallopt(M_ARENA_MAX, bound) == 1, "mallopt");
    pthread_barrier_init(&all_there, NULL, THREADS + 1);
    pthread_barrier_init(&counted, NULL, THREADS + 1);
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) NEED(pthread_create(&thread[i], NULL, hold, NULL) == 0, "pthread_create");
    pthread_barrier_wait(&all_there);
    int found = arenas();
    pthread_barrier_wait(&counted);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    if (bound) EXPECT(found >= 1 && found <= bound, "%d arenas with a bound of %d", found, bound);
    else EXPECT(found > 1, "%d arena for %d threads", found, THREADS);
    return finish();
}
