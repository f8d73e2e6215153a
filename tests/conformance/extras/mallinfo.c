/* mallinfo and mallinfo2 tell of this heap, and their sums add up. */
#include "../expect.h"
#include <malloc.h>

enum { MANY = 100 };

static struct mallinfo2 look(const char *when) {
    struct mallinfo2 i = mallinfo2();
    EXPECT(i.arena == i.uordblks + i.fordblks, "%s: %zu in heaps, but %zu in use and %zu free", when, i.arena, i.uordblks,
           i.fordblks);
    EXPECT(i.keepcost <= i.fordblks, "%s: the top of %zu is more than the %zu free", when, i.keepcost, i.fordblks);
    EXPECT(i.fsmblks <= i.fordblks, "%s: %zu in fast bins, %zu free", when, i.fsmblks, i.fordblks);
    EXPECT((i.hblks == 0) == (i.hblkhd == 0), "%s: %zu mappings of %zu bytes", when, i.hblks, i.hblkhd);
    EXPECT(i.ordblks >= 1 || i.arena == 0, "%s: not even a top", when);
    EXPECT((i.smblks == 0) == (i.fsmblks == 0), "%s: %zu fast chunks of %zu bytes", when, i.smblks, i.fsmblks);
    return i;
}

int main(void) {
    char *small[MANY], *large[4];
    NEED(malloc(1), "malloc");
    struct mallinfo2 start = look("at the start");
    for (int i = 0; i < MANY; i++) {
        small[i] = malloc(100000);
        NEED(small[i], "malloc");
    }
    struct mallinfo2 used = look("in use");
    EXPECT(used.uordblks >= start.uordblks + MANY * 100000, "%zu in use, then %zu", start.uordblks, used.uordblks);
    EXPECT(used.uordblks <= start.uordblks + MANY * 101000, "%zu in use, then %zu", start.uordblks, used.uordblks);
    EXPECT(used.arena >= used.uordblks, "%zu in heaps", used.arena);
    EXPECT(used.hblks == start.hblks, "%zu mappings", used.hblks);

    for (int i = 0; i < 4; i++) {
        large[i] = malloc(MIB);
        NEED(large[i], "malloc");
    }
    struct mallinfo2 mapped = look("mapped");
    EXPECT(mapped.hblks == used.hblks + 4, "%zu mappings", mapped.hblks);
    EXPECT(mapped.hblkhd == used.hblkhd + 4 * (MIB + 4096), "%zu bytes in mappings", mapped.hblkhd);
    EXPECT(mapped.uordblks == used.uordblks, "mappings count as heap: %zu", mapped.uordblks);

    for (int i = 0; i < MANY; i += 2) free(small[i]);
    struct mallinfo2 holes = look("with holes");
    EXPECT(holes.uordblks <= used.uordblks - MANY / 2 * 100000, "%zu in use after half was freed", holes.uordblks);
    EXPECT(holes.ordblks >= MANY / 2, "%zu free chunks", holes.ordblks);
    EXPECT(holes.fordblks >= used.fordblks + MANY / 2 * 100000, "%zu free", holes.fordblks);

    /* The old one is deprecated, and still asked. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    struct mallinfo2 wide = look("beside mallinfo");
    EXPECT((size_t)narrow.arena == wide.arena && (size_t)narrow.uordblks == wide.uordblks &&
           (size_t)narrow.fordblks == wide.fordblks && (size_t)narrow.hblks == wide.hblks &&
           (size_t)narrow.hblkhd == wide.hblkhd && (size_t)narrow.keepcost == wide.keepcost, "mallinfo says otherwise");

    for (int i = 1; i < MANY; i += 2) free(small[i]);
    for (int i = 0; i < 4; i++) free(large[i]);
    struct mallinfo2 done = look("at the end");
    EXPECT(done.uordblks <= start.uordblks + 1000, "%zu in use at the start, %zu at the end", start.uordblks, done.uordblks);
    EXPECT(done.hblks == start.hblks && done.hblkhd == start.hblkhd, "%zu mappings at the end", done.hblks);
    EXPECT(done.arena < used.arena / 2, "%zu in heaps at the end, of %zu", done.arena, used.arena);
    return finish();
}
