/* A3: the break goes down when a large top is freed. With `small` the chunks are such as thread caches keep. */
#include "hg.h"

int main(int argc, char **argv) {
    size_t each = argc > 1 && !strcmp(argv[1], "small") ? 10000 : 70000;
    enum { COUNT = 60 };
    void *p[COUNT];
    get(32);
    uintptr_t low = the_break();
    for (int i = 0; i < COUNT; i++) p[i] = get(each);
    uintptr_t high = the_break();
    MUST(high - low >= COUNT * each - 140000, "%#lx %#lx", low, high);
    mark("free");
    for (int i = COUNT - 1; i >= 0; i--) free(p[i]);
    mark("after");
    uintptr_t now = the_break();
    /* What may remain: the threshold, the pad, and two parked frees. */
    MUST(now <= low + 3 * 131072 + 2 * each, "break %#lx, was %#lx, started at %#lx", now, high, low);
    must_be_sound();
    return 0;
}
