/* Memory can be had before main: in the program's pre-initialisers, in constructors of the earliest priority, in those of a
 * shared library that was built with the program; and what was had there can be resized and freed in main. */
#include "../expect.h"
#include <pthread.h>

extern int plugin_constructed;
char *plugin_text(int n);

static char *early[3][100];
static size_t large_at;

static void take(char **into, int seed) {
    for (int i = 0; i < 100; i++) {
        size_t n = 1 + 37 * i;
        into[i] = i % 3 == 0 ? calloc(1, n) : i % 3 == 1 ? realloc(NULL, n) : aligned_alloc(64, n);
        NEED(into[i], "%zu bytes", n);
        fill(into[i], seed + i, 0, n);
        free(malloc(10 * i));
    }
    char *large = malloc(500000);
    NEED(large, "malloc(500000)");
    large_at = (size_t)large;
    free(large);
}

static void before_all(void) { take(early[0], 1000); }

__attribute__((section(".preinit_array"), used)) static void (*pre_initialiser)(void) = before_all;

static void *thread_work(void *unused) {
    free(malloc(77));
    return unused;
}

__attribute__((constructor(101))) static void first(void) {
    take(early[1], 2000);
    /* A thread before main. */
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, thread_work, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
}

__attribute__((constructor)) static void later(void) { take(early[2], 3000); }

int main(void) {
    EXPECT(plugin_constructed, "the shared library's constructor did not run");
    char *text = plugin_text(100);
    EXPECT(strlen(text) == 100, "the shared library's text: %s", text);
    free(text);
    EXPECT(large_at, "no constructor ran");
    for (int when = 0; when < 3; when++)
        for (int i = 0; i < 100; i++) {
            size_t n = 1 + 37 * i, seed = 1000 * (when + 1) + i;
            EXPECT(intact(early[when][i], seed, n) == n, "block %d of constructor %d changed", i, when);
            early[when][i] = realloc(early[when][i], 2 * n);
            EXPECT(early[when][i] && intact(early[when][i], seed, n) == n, "block %d of constructor %d: lost", i, when);
            free(early[when][i]);
        }
    return finish();
}
