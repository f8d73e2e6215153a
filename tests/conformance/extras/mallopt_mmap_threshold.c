/* M_MMAP_THRESHOLD says from which size on a request gets a mapping of its own, and set by hand it no longer moves. */
#include "../expect.h"
#include <malloc.h>

static int mapped(size_t n) {
    char *p = malloc(n);
    NEED(p, "malloc(%zu)", n);
    int own = !in_break(p);
    free(p);
    return own;
}

int main(void) {
    EXPECT(!mapped(100000), "100000 bytes were mapped at the start");
    EXPECT(mapped(2000000), "2000000 bytes were not mapped at the start");
    /* That free of a mapping raised the threshold: the dynamics are on. */
    EXPECT(!mapped(1900000), "1900000 bytes were mapped after a mapping of 2000000 was freed");

    /* A top that held the requests below would serve them without asking for the threshold. */
    NEED(mallopt(M_TRIM_THRESHOLD, 128 << 10) == 1, "mallopt");
    malloc_trim(0);
    EXPECT(mallopt(M_MMAP_THRESHOLD, 500000) == 1, "mallopt");
    EXPECT(mapped(500000), "500000 bytes were not mapped");
    EXPECT(!mapped(490000), "490000 bytes were mapped");
    for (int i = 0; i < 5; i++) {
        EXPECT(mapped(1000000), "a million bytes were not mapped");
        EXPECT(mapped(510000), "the threshold moved");
    }
    EXPECT(mallopt(M_MMAP_THRESHOLD, 1000000) == 1, "mallopt");
    EXPECT(!mapped(900000), "900000 bytes were mapped");
    EXPECT(mapped(1000000), "a million bytes were not mapped");
    EXPECT(!mapped(900000), "900000 bytes were mapped");
    return finish();
}
