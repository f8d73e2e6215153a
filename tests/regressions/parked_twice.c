/* A free waits until two more came. What happens to its chunk meanwhile must not be lost: that it is freed again although it
 * lies in the cache already, and is handed out; that another thread frees it, and gets it back; that it is written to; that another
 * thread asks for its size, or has it resized in place, as if it were in use, and writes nothing.
 * The argument says which: `cached`, `other`, `written`, `measured`, `kept`, `shrunk`. */
#include "../contract/hg.h"

enum { N = 64, OTHER = 200, MANY = 200 };
static pthread_barrier_t step;
static byte *p;
static const char *how;

/* Ordinary calls, so that the ones that matter take the fast path, and find room in the cache. */
static void warm_up(void) {
    static _Thread_local void *q[MANY];
    for (int i = 0; i < 30; i++) {
        for (int j = 0; j < MANY; j++) q[j] = get(i % 2 ? N : OTHER);
        for (int j = 0; j < MANY; j++) free(q[j]);
    }
    for (int j = 0; j < 20; j++) q[j] = get(N), q[j + 20] = get(OTHER);
}

static void next(void) { pthread_barrier_wait(&step); }

/* Pointers near a page's start are looked at more closely. */
static byte *usual(size_t size) {
    byte *q;
    do q = get(size);
    while (((uintptr_t)q & 0xfff) <= 16);
    return q;
}

static void *other(void *unused) {
    warm_up();
    byte *x = usual(OTHER), *y = usual(OTHER);
    next(); /* p waits at the first thread */
    if (!strcmp(how, "measured")) say("%zu", malloc_usable_size(p));
    if (!strcmp(how, "kept")) say("%p", realloc(p, N));
    if (!strcmp(how, "shrunk")) say("%p", realloc(p, N - 40));
    free(p), free(x), free(y);
    byte *again = NULL;
    for (int i = 0; i < 300 && again != p; i++) again = get(N);
    MUST(again == p, "it wasn't handed out again");
    next();
    next();
    return unused;
}

int main(int argc, char **argv) {
    MUST(argc == 2);
    how = argv[1];
    pthread_barrier_init(&step, NULL, 2);
    pthread_t t;
    warm_up();
    int two = strcmp(how, "cached") && strcmp(how, "written");
    if (two) {
        MUST(pthread_create(&t, NULL, other, NULL) == 0);
    }
    p = usual(N);
    byte *a = usual(OTHER), *b = usual(OTHER), *c = usual(OTHER), *d = usual(OTHER);
    say("address %p", p);
    free(p);
    if (!strcmp(how, "cached")) {
        free(a), free(b); /* p is in the cache now */
        free(p);
        MUST(get(N) == p, "it wasn't handed out again");
    } else if (two) {
        next();
        next();
    } else {
        memcpy(p, "a story", 8);
    }
    free(c), free(d);
    say("survived");
    return 0;
}
