/* malloc_trim moves the break back, up to its argument, which stays at the top for requests to come. */
#include "../expect.h"
#include <malloc.h>

enum { BLOCKS = 1000, SIZE = 60000 };
static char *block[BLOCKS];

int main(void) {
    EXPECT(mallopt(M_TRIM_THRESHOLD, 1 << 30) == 1, "mallopt");
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = malloc(SIZE);
        NEED(block[i], "malloc");
    }
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
    char *high = sbrk(0);
    EXPECT(malloc_trim(8 * MIB) == 1, "trim to 8 MiB");
    size_t left = mallinfo2().keepcost;
    EXPECT((char *)sbrk(0) < high - 40 * MIB, "the break went back by %zu", (size_t)(high - (char *)sbrk(0)));
    EXPECT(left >= 8 * MIB - 64 * KIB && left <= 8 * MIB + 256 * KIB, "%zu left at the top", left);
    high = sbrk(0);
    EXPECT(malloc_trim(0) == 1, "trim to nothing");
    EXPECT((char *)sbrk(0) < high - 7 * MIB, "the break went back by %zu", (size_t)(high - (char *)sbrk(0)));
    return finish();
}
