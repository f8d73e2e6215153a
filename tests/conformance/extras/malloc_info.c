/* Writes malloc_info's XML to standard output from a process with a few arenas, free chunks of many sizes and mappings;
 * the test reads it. Options other than 0 are refused with EINVAL and write nothing. */
#include "../expect.h"
#include <malloc.h>
#include <pthread.h>

static pthread_barrier_t all_there, told;

static void *hold(void *unused) {
    (void)unused;
    char *p[300];
    for (int i = 0; i < 300; i++) {
        p[i] = malloc(100 + 40 * i);
        NEED(p[i], "malloc");
        memset(p[i], 1, 100);
    }
    for (int i = 0; i < 300; i += 2) free(p[i]);
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&told);
    for (int i = 1; i < 300; i += 2) free(p[i]);
    return NULL;
}

int main(void) {
    pthread_t thread[4];
    pthread_barrier_init(&all_there, NULL, 5);
    pthread_barrier_init(&told, NULL, 5);
    for (int i = 0; i < 4; i++) NEED(pthread_create(&thread[i], NULL, hold, NULL) == 0, "pthread_create");
    char *p[1000], *mapped[3];
    for (int i = 0; i < 1000; i++) {
        p[i] = malloc(10 + 70 * i);
        NEED(p[i], "malloc");
    }
    for (int i = 0; i < 3; i++) {
        mapped[i] = malloc(5 * MIB);
        NEED(mapped[i], "malloc");
    }
    for (int i = 0; i < 1000; i += 3) free(p[i]);
    pthread_barrier_wait(&all_there);

    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    NEED(stream, "open_memstream");
    int options[] = {1, 2, -1, 1000};
    for (size_t i = 0; i < COUNT(options); i++)
        EXPECT(malloc_info(options[i], stream) == EINVAL, "malloc_info(%d)", options[i]);
    fclose(stream);
    EXPECT(length == 0, "a refused malloc_info wrote: %s", text);
    free(text);

    if (faults == 0) {
        /* Into a stream of ours that allocates while it is written to, then out. */
        stream = open_memstream(&text, &length);
        NEED(stream, "open_memstream");
        EXPECT(malloc_info(0, stream) == 0, "malloc_info(0) failed");
        fclose(stream);
        NEED(write(1, text, length) == (ssize_t)length, "write");
        free(text);
    }
    pthread_barrier_wait(&told);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 3; i++) free(mapped[i]);
    return finish();
}
