/* A3: the heap grows contiguously with the break. The sizes of the steps are read off strace. */
#include "hg.h"

int main(void) {
    enum { COUNT = 3000 };
    static byte *p[COUNT];
    uintptr_t start = break_region().start;
    mark("grow");
    for (int i = 0; i < COUNT; i++) p[i] = malloc(1000);
    mark("done");
    struct region r = break_region();
    MUST(!start || r.start == start);
    for (int i = 0; i < COUNT; i++) {
        MUST((uintptr_t)p[i] > r.start && (uintptr_t)p[i] + 1000 <= r.end, "%p outside %#lx-%#lx", p[i], r.start, r.end);
        memset(p[i], i, 1000);
    }
    MUST(r.end == the_break());
    walk(0);
    must_be_sound();
    return 0;
}
