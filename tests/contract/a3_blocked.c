/* A3: a mapping right above the break stops it. The arena goes on in mapped regions. */
#include "hg.h"

int main(void) {
    enum { COUNT = 6000, SIZE = 1000 };
    static byte *p[COUNT];
    free(get(32));
    uintptr_t at = (the_break() + 4095) & ~4095ul;
    void *wall = mmap((void *)at, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    MUST(wall == (void *)at);
    memset(wall, 0x77, 4096);
    int outside = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) memset(p[i] = get(SIZE), i, SIZE);
        MUST(the_break() <= at, "%#lx", the_break());
        for (int i = 0; i < COUNT; i++) {
            outside += (uintptr_t)p[i] > at || (uintptr_t)p[i] < break_region().start;
            if (i % 997 == 0) MUST(p[i][0] == (byte)i && p[i][SIZE - 1] == (byte)i);
            if (outside) break;
        }
        for (int i = 0; i < COUNT; i++) MUST(p[i][0] == (byte)i && p[i][SIZE - 1] == (byte)i, "%d", i);
        must_be_sound();
        for (int i = 0; i < COUNT; i++) free(p[i]);
        malloc_trim(0);
        must_be_sound();
    }
    MUST(outside > 0);
    for (int i = 0; i < 4096; i++) MUST(((byte *)wall)[i] == 0x77);
    return 0;
}
