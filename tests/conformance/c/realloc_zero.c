/* realloc(p, 0) frees p, returns null and keeps errno. */
#include "../expect.h"

int main(void) {
    size_t sizes[] = {0, 1, 24, 100, 1500, 40000, 100000, 200000, 3 * MIB};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        /* Were the block not freed, these would be kept: 7 MiB of the smallest, 64 of the others. */
        size_t before = resident();
        size_t times = sizes[i] < 10000 ? 300000 : 64 * MIB / sizes[i];
        for (size_t k = 0; k < times; k++) {
            char *p = malloc(sizes[i]);
            NEED(p, "malloc(%zu)", sizes[i]);
            memset(p, 1, sizes[i]);
            errno = 55;
            void *gone = realloc(p, unknown(0));
            EXPECT(!gone, "realloc of %zu bytes to 0 gave %p", sizes[i], gone);
            EXPECT(errno == 55, "errno became %d", errno);
        }
        size_t after = resident();
        EXPECT(after < before + 6 * MIB, "size %zu: %zu KiB more resident after %zu times", sizes[i], (after - before) >> 10,
               times);
    }
    return finish();
}
