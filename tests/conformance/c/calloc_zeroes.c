/* calloc's memory is all zero, also where it was used before: cached, in bins, split, at the top, trimmed, mapped. */
#include "../expect.h"
#include <malloc.h>

enum { MANY = 200 };
static char *block[MANY];

static void dirty(size_t n, size_t count) {
    for (size_t i = 0; i < count; i++) {
        block[i] = malloc(n);
        NEED(block[i], "malloc(%zu)", n);
        memset(block[i], 0xff, malloc_usable_size(block[i]));
    }
    for (size_t i = 0; i < count; i += 2) free(block[i]);
    for (size_t i = 1; i < count; i += 2) free(block[i]);
}

static void check(size_t n, size_t count, const char *when) {
    for (size_t i = 0; i < count; i++) {
        block[i] = i % 2 ? calloc(1, n) : calloc(n, 1);
        NEED(block[i], "calloc(%zu)", n);
        size_t good = zeroes(block[i], n);
        EXPECT(good == n, "%s: byte %zu of %zu isn't zero", when, good, n);
        memset(block[i], 0xee, n);
    }
    for (size_t i = 0; i < count; i++) free(block[i]);
}

int main(void) {
    size_t sizes[] = {1,     8,     16,    24,     25,     40,     64,     100,    129,     500,     1000,     1024,    1032,
                      1100,  2000,  4000,  8000,   12000,  20000,  32768,  50000,  65536,   70000,   100000,   131000,  131072,
                      140000, 200000, 300000, 1 << 20, 5 << 20, 34 << 20};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t count = sizes[i] < 10000 ? MANY : sizes[i] < 400000 ? 20 : 2;
        check(sizes[i], count, "fresh");
        dirty(sizes[i], count);
        check(sizes[i], count, "after the same size");
        dirty(sizes[i] * 2 + 100, count / 2);
        check(sizes[i], count, "after twice the size");
        dirty(sizes[i] / 3 + 1, count);
        check(sizes[i], count, "after a third of the size");
        malloc_trim(0);
        check(sizes[i], count, "after a trim");
    }
    /* The top shrinks and grows again; part of it was written to. */
    for (int round = 0; round < 20; round++) {
        dirty(90000, 10);
        check(60000 + 1000 * round, 20, "over the old and the new top");
    }
    return finish();
}
