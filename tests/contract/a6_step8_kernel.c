/* A6 (8): a request that the top can't serve: brk once for the main arena, a mapped heap for another thread's. */
#include "hg.h"

static void *other(void *unused) {
    mark("thread");
    byte *p = malloc(5000);
    mark("thread done");
    MUST(p != NULL && chunk_flags(p) & A && !in_break(p), "%p", p);
    memset(p, 1, 5000);
    free(p);
    return unused;
}

int main(void) {
    get(32);
    get(100000);
    struct walked before = walk(0);
    MUST(before.top_size < 90000, "%zu", before.top_size);
    mark("main");
    byte *p = malloc(100000);
    mark("main done");
    MUST(p == before.top, "the new chunk begins where the top was: no hole");
    memset(p, 1, 100000);
    walk(0);
    in_thread(other, NULL);
    must_be_sound();
    return 0;
}
