/* A15 by default: a thousand aligned chunks of 64 bytes on 4 KiB borders leave their leads to smaller requests. */
#include "hg.h"

int main(void) {
    enum { COUNT = 1000, SMALL = 20000 };
    static byte *aligned[COUNT], *small[SMALL];
    for (int i = 0; i < COUNT; i++) memset(aligned[i] = memalign(4096, 64), 1, 64);
    struct region r = break_region();
    walk(0);
    for (int i = 0; i < SMALL; i++) memset(small[i] = get(100), 2, 100);
    int between = 0;
    for (int i = 0; i < SMALL; i++) between += (uintptr_t)small[i] < r.end && (uintptr_t)small[i] >= r.start;
    MUST(between > SMALL * 3 / 4, "%d of %d found place between the aligned ones", between, SMALL);
    for (int i = 0; i < COUNT; i++) {
        MUST(aligned[i][0] == 1 && aligned[i][63] == 1);
        free(aligned[i]);
    }
    for (int i = 0; i < SMALL; i++) free(small[i]);
    malloc_trim(0);
    must_be_sound();
    walk(0);
    return 0;
}
