/* M_MMAP_MAX bounds how many mappings stand at a time; 0 serves every request from the heap. */
#include "../expect.h"
#include <malloc.h>

int main(void) {
    EXPECT(mallopt(M_MMAP_MAX, 3) == 1, "mallopt");
    char *p[6];
    int own = 0;
    for (int i = 0; i < 6; i++) {
        p[i] = malloc(1000000 + i);
        NEED(p[i], "malloc");
        memset(p[i], 1, 1000000);
        own += !in_break(p[i]);
    }
    EXPECT(own == 3, "%d mappings with a bound of 3", own);
    struct mallinfo2 info = mallinfo2();
    EXPECT(info.hblks == 3, "mallinfo2 counts %zu mappings", info.hblks);
    for (int i = 0; i < 6; i++) free(p[i]);

    EXPECT(mallopt(M_MMAP_MAX, 0) == 1, "mallopt");
    for (size_t n = 100000; n < 30 * MIB; n *= 2) {
        char *q = malloc(n);
        NEED(q, "malloc(%zu)", n);
        EXPECT(in_break(q), "%zu bytes were mapped", n);
        memset(q, 1, n);
        free(q);
    }
    EXPECT(mallinfo2().hblks == 0, "mallinfo2 counts %zu mappings", mallinfo2().hblks);
    return finish();
}
