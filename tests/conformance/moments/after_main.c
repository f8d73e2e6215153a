/* Memory can be had and freed after main returned: in atexit and on_exit handlers, in destructors of the program and of a
 * shared library, with a thread still running. The last destructor says how it went. */
#include "../expect.h"
#include <pthread.h>

char *plugin_text(int n);

static char *from_main[200];
static int ran;

static void use(void) {
    ran++;
    char *p[100];
    for (int i = 0; i < 100; i++) {
        p[i] = i % 2 ? malloc(50 * i) : calloc(1, 3000 * i + 1);
        NEED(p[i], "block %d", i);
        memset(p[i], 1, 50 * i);
    }
    for (int i = 0; i < 100; i += 2) {
        p[i] = realloc(p[i], 4000 * i + 10);
        NEED(p[i], "realloc");
    }
    for (int i = 0; i < 100; i++) free(p[i]);
}

static void release(void) {
    ran++;
    for (int i = 0; i < 200; i++) {
        EXPECT(intact(from_main[i], i, 30 * i) == (size_t)30 * i, "block %d of main changed", i);
        free(from_main[i]);
    }
}

static void on_exit_use(int code, void *text) {
    EXPECT(code == 0, "exit code %d", code);
    EXPECT(strlen(text) == 1000, "the shared library's text");
    free(text);
    use();
}

static void nested(void) {
    use();
    atexit(use);
}

static volatile int running;
static void *busy(void *unused) {
    running = 1;
    for (;;) free(malloc(100));
    return unused;
}

__attribute__((destructor(101))) static void last(void) {
    use();
    EXPECT(ran == 7, "%d of 7 handlers ran", ran);
    if (finish()) _exit(1);
}

__attribute__((destructor)) static void almost_last(void) { use(); }

int main(void) {
    for (int i = 0; i < 200; i++) {
        from_main[i] = malloc(30 * i);
        NEED(from_main[i], "malloc");
        fill(from_main[i], i, 0, 30 * i);
    }
    atexit(use);
    atexit(release);
    on_exit(on_exit_use, plugin_text(1000));
    atexit(nested);
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, busy, NULL) == 0, "pthread_create");
    while (!running) sched_yield();
    return 0;
}
