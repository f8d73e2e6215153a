/* free_sized and free_aligned_sized take back any block when told its right size and alignment: also 0, also after realloc. */
#include "../expect.h"
#include <malloc.h>

void free_sized(void *, size_t);
void free_aligned_sized(void *, size_t alignment, size_t);

static void resized(size_t from, size_t to) {
    char *p = malloc(from);
    NEED(p, "malloc(%zu)", from);
    p = realloc(p, to);
    NEED(p, "realloc");
    memset(p, 1, to);
    free_sized(p, to);
}

int main(void) {
    errno = 99;
    free_sized(opaque(NULL), 0);
    free_sized(opaque(NULL), 1000);
    free_aligned_sized(opaque(NULL), 64, 1000);
    for (size_t n = 0; n <= 5000; n++) {
        free_sized(malloc(n), n);
        free_sized(calloc(n, 3), 3 * n);
        for (size_t alignment = 1; alignment <= 4096; alignment *= 4)
            free_aligned_sized(aligned_alloc(alignment, n), alignment, n);
    }
    for (size_t n = 8192; n <= 40 * MIB; n = n * 3 / 2) {
        free_sized(malloc(n), n);
        free_sized(malloc(n + 1), n + 1);
        free_aligned_sized(aligned_alloc(4096, n), 4096, n);
        free_aligned_sized(aligned_alloc(2 * MIB, n), 2 * MIB, n);
    }
    for (size_t from = 1; from < 2500; from += 37)
        for (size_t to = 1; to < 2500; to += 13) resized(from, to);
    size_t large[] = {1, 1000, 5000, 30000, 70000, 131000, 131072, 200000, 1 * MIB, 9 * MIB};
    for (size_t i = 0; i < COUNT(large); i++)
        for (size_t k = 0; k < COUNT(large); k++) resized(large[i], large[k]);
    EXPECT(errno == 99, "errno became %d", errno);

    /* Were nothing freed, this would hold 400 MiB. */
    for (int i = 0; i < 4000; i++) {
        char *p = malloc(100 * KIB);
        NEED(p, "malloc");
        memset(p, 1, 100 * KIB);
        free_sized(p, 100 * KIB);
    }
    EXPECT(resident() < 100 * MIB, "%zu KiB resident", resident() >> 10);
    return finish();
}
