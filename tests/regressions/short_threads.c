/* Six thousand detached threads that never allocate: they end (`exit`), or free one chunk of the main thread's and end
 * (`free`). What the C library frees in a thread's very last moments once got the dead thread a cache and an arena.
 * On `small` stacks, each thread frees only what was its own; of others (`usual`) the C library keeps a few, and a thread
 * that ends may free what belongs to many dead ones' stacks. malloc_info at the end lists the arenas. */
#include "../contract/hg.h"

enum { ROUNDS = 60, AT_ONCE = 100 };
static int ready, go;

static void *life(void *p) {
    __atomic_fetch_add(&ready, 1, __ATOMIC_ACQ_REL);
    while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE)) usleep(500);
    free(p);
    return NULL;
}

static int threads(void) {
    const char *line = strstr(slurp("/proc/self/status"), "\nThreads:");
    MUST(line);
    return atoi(line + strlen("\nThreads:"));
}

int main(int argc, char **argv) {
    MUST(argc == 3);
    int frees = !strcmp(argv[1], "free");
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (!strcmp(argv[2], "small")) MUST(pthread_attr_setstacksize(&detached, 65536) == 0);
    size_t settled = 0;
    for (int round = 0; round < ROUNDS; round++) {
        ready = go = 0;
        for (int i = 0; i < AT_ONCE; i++) {
            pthread_t t;
            MUST(pthread_create(&t, &detached, life, frees ? get(100) : NULL) == 0);
        }
        while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < AT_ONCE) usleep(500);
        __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
        while (threads() > 1) usleep(500);
        if (round == ROUNDS / 3) settled = resident();
    }
    MUST(resident() < settled + (2u << 20), "%zu bytes resident, %zu after a third", resident(), settled);
    must_be_sound();
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    malloc_info(0, stdout);
    return 0;
}
