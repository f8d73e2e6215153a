/* Says what the heap says of itself, by mallinfo2 and malloc_info, with chunks of many states in it and two arenas; then waits until
 * standard input ends. Nothing is allocated between the figures and the wait. */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHUNKS = 3000 };
static char *chunks[CHUNKS];
static char *mapped;

static void work(int step) {
    for (int i = 0; i < CHUNKS; i++) chunks[i] = malloc(16 + (size_t)i % 90 * 24);
    for (int i = 0; i < CHUNKS; i += step) free(chunks[i]);
}

static void *in_a_thread(void *arg) {
    (void)arg;
    work(3);
    return NULL;
}

int main(void) {
    static char out[1 << 16];
    setvbuf(stdout, out, _IOFBF, sizeof out);
    pthread_t thread;
    if (pthread_create(&thread, NULL, in_a_thread, NULL) != 0 || pthread_join(thread, NULL) != 0) return 1;
    work(2);
    mapped = malloc(400000);
    struct mallinfo2 info = mallinfo2();
    printf("arena %zu\nordblks %zu\nsmblks %zu\nhblks %zu\nhblkhd %zu\n", info.arena, info.ordblks, info.smblks, info.hblks,
           info.hblkhd);
    printf("fsmblks %zu\nuordblks %zu\nfordblks %zu\n", info.fsmblks, info.uordblks, info.fordblks);
    malloc_info(0, stdout);
    puts("ready");
    fflush(stdout);
    char byte;
    return read(0, &byte, 1) > 0;
}
