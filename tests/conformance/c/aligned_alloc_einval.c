/* aligned_alloc fails with EINVAL for an alignment that is no power of two, and asks no multiple of the size. */
#include "../expect.h"

int main(void) {
    size_t bad[] = {0, 3, 5, 6, 7, 9, 24, 48, 100, 1000, 4095, 4097, 12288, SIZE_MAX, SIZE_MAX / 2, ((size_t)1 << 63) + 1};
    for (size_t i = 0; i < COUNT(bad); i++) {
        errno = 0;
        void *p = aligned_alloc(unknown(bad[i]), 96);
        EXPECT(!p && errno == EINVAL, "aligned_alloc(%zu, 96): %p, errno %d", bad[i], p, errno);
    }
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
        void *p = aligned_alloc(unknown(alignment), 33);
        EXPECT(p && aligned(p, alignment), "aligned_alloc(%zu, 33): %p, errno %d", alignment, p, errno);
        free(p);
    }
    return finish();
}
