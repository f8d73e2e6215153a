/* One thread flushes all streams, one of which allocates as it is written to; the other forks. The C library's fork takes the
 * lock of its list of streams after the fork handlers have run, so whoever holds that lock may be waiting for a lock of
 * malloc's that the forking thread holds. With the argument `handler` it is a fork handler of the program's that waits: one
 * that was registered before malloc's own, by a constructor, and so runs behind it. */
#include "../contract/hg.h"
#include <sys/wait.h>

static int over, has_handler;
static pthread_mutex_t ours = PTHREAD_MUTEX_INITIALIZER;

static void before(void) {
    if (has_handler) pthread_mutex_lock(&ours);
}

static void after(void) {
    if (has_handler) pthread_mutex_unlock(&ours);
}

__attribute__((constructor)) static void first(void) { MUST(pthread_atfork(before, after, after) == 0); }

static ssize_t write_all(void *cookie, const char *text, size_t n) {
    /* Of many sizes, so that every lock of the heap is met: caches, arenas, depots, records and mappings. */
    for (int i = 0; i < 40; i++) {
        byte *p[30];
        for (int k = 0; k < 30; k++) p[k] = get(k == 0 ? 300000 : 100 + 977 * k);
        for (int k = 0; k < 30; k++) free(p[k]);
    }
    return n;
}

static void *flush(void *unused) {
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_all});
    MUST(stream);
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        if (has_handler) {
            pthread_mutex_lock(&ours);
            write_all(NULL, NULL, 0);
            pthread_mutex_unlock(&ours);
        } else {
            fputc('x', stream);
            fflush(NULL);
        }
    }
    fclose(stream);
    return unused;
}

int main(int argc, char **argv) {
    pthread_t t;
    has_handler = argc > 2;
    MUST(pthread_create(&t, NULL, flush, NULL) == 0);
    for (int i = 0; i < atoi(argv[1]); i++) {
        pid_t child = fork();
        MUST(child >= 0, "errno %d", errno);
        if (child == 0) {
            alarm(60);
            byte *p = get(200000), *q = get(50);
            free(p);
            free(q);
            _exit(0);
        }
        int status;
        MUST(waitpid(child, &status, 0) == child);
        MUST(status == 0, "child %d ended with %#x", i, status);
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    pthread_join(t, NULL);
    must_be_sound();
    return 0;
}
