/* M_TRIM_THRESHOLD says how large the top of the heap grows before the break is moved back; -1 means never. */
#include "../expect.h"
#include <malloc.h>

static char *block[200];

static void grow(void) {
    for (size_t i = 0; i < COUNT(block); i++) {
        block[i] = malloc(100000);
        NEED(block[i], "malloc");
        memset(block[i], 1, 100000);
    }
}

/* How far the break moves back when 20 MB at the top are freed. */
static size_t moved_back(void) {
    grow();
    char *high = sbrk(0);
    for (size_t i = COUNT(block); i-- > 0;) free(block[i]);
    return high - (char *)sbrk(0);
}

int main(void) {
    EXPECT(mallopt(M_TRIM_THRESHOLD, 64 << 20) == 1, "mallopt");
    size_t back = moved_back();
    EXPECT(back == 0, "20 MB freed under a threshold of 64 MiB: the break went back by %zu", back);
    EXPECT(mallopt(M_TRIM_THRESHOLD, -1) == 1, "mallopt");
    back = moved_back();
    EXPECT(back == 0, "20 MB freed under no threshold at all: the break went back by %zu", back);
    EXPECT(mallopt(M_TRIM_THRESHOLD, 64 << 10) == 1, "mallopt");
    back = moved_back();
    EXPECT(back > 18 * MIB, "20 MB freed under a threshold of 64 KiB: the break went back by %zu", back);
    EXPECT(mallopt(M_TRIM_THRESHOLD, 8 << 20) == 1, "mallopt");
    back = moved_back();
    EXPECT(back > 10 * MIB, "20 MB freed under a threshold of 8 MiB: the break went back by %zu", back);
    EXPECT(back < 20000000, "20 MB freed under a threshold of 8 MiB: the break went back by %zu", back);
    return finish();
}
