/* malloc_trim gives free pages back to the kernel, from any thread and out of the middle of the heap, and returns 1 when it
 * gave some. */
#include "../expect.h"
#include <malloc.h>
#include <pthread.h>

enum { BLOCKS = 1000, SIZE = 60000 };
static char *block[BLOCKS], *pin[BLOCKS];

static void *allocate(void *unused) {
    (void)unused;
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = malloc(SIZE);
        pin[i] = malloc(2000);
        NEED(block[i] && pin[i], "malloc");
        memset(block[i], 1, SIZE);
        memset(pin[i], i, 2000);
    }
    return NULL;
}

static void *release(void *unused) {
    (void)unused;
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
    return NULL;
}

static void *trim(void *unused) {
    (void)unused;
    size_t before = resident();
    int gave = malloc_trim(0);
    size_t after = resident();
    /* Some may have gone back by itself before; what is asked for is that it is gone now. */
    EXPECT(after < 30 * MIB, "%zu KiB resident before the trim, %zu after", before >> 10, after >> 10);
    EXPECT(gave == 1 || before < 30 * MIB, "malloc_trim said %d, %zu KiB before, %zu after", gave, before >> 10, after >> 10);
    for (int i = 0; i < BLOCKS; i++)
        for (int k = 0; k < 2000; k++) EXPECT(pin[i][k] == (char)i, "byte %d of pinned block %d changed", k, i);
    return NULL;
}

static void elsewhere(void *(*what)(void *)) {
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, what, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
}

static void unpin(void) {
    for (int i = 0; i < BLOCKS; i++) free(pin[i]);
    malloc_trim(0);
}

int main(void) {
    allocate(NULL), release(NULL), trim(NULL), unpin();
    allocate(NULL), release(NULL), elsewhere(trim), unpin();
    allocate(NULL), elsewhere(release), trim(NULL), unpin();
    elsewhere(allocate), elsewhere(release), elsewhere(trim), unpin();
    return finish();
}
