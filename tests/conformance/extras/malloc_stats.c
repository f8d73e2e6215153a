/* malloc_stats writes to standard error what the test then reads: one arena or more, and the total with the mappings. */
#include "../expect.h"
#include <malloc.h>
#include <pthread.h>

static void *other(void *unused) {
    (void)unused;
    char *p = malloc(1000);
    NEED(p, "malloc");
    memset(p, 1, 1000);
    return p;
}

int main(void) {
    void *p;
    pthread_t thread;
    NEED(malloc(50000), "malloc");
    NEED(pthread_create(&thread, NULL, other, NULL) == 0, "pthread_create");
    pthread_join(thread, &p);
    char *large[2] = {malloc(3 * MIB), malloc(2 * MIB)};
    NEED(large[0] && large[1], "malloc");
    memset(large[0], 1, 3 * MIB);
    free(large[0]);
    free(p);
    int before = errno = 44;
    malloc_stats();
    EXPECT(errno == before, "errno became %d", errno);
    free(large[1]);
    return finish();
}
