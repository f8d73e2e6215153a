/* Where alignment and size together don't fit, the aligned functions fail with ENOMEM instead of giving a short block. */
#include "../expect.h"
#include <malloc.h>

int main(void) {
    for (int bit = 4; bit <= 62; bit++) {
        size_t alignment = (size_t)1 << bit;
        size_t sizes[] = {SIZE_MAX - alignment,      SIZE_MAX - alignment + 1, SIZE_MAX - alignment - 40,
                          SIZE_MAX - 2 * alignment,  SIZE_MAX - 16,            PTRDIFF_MAX,
                          PTRDIFF_MAX - alignment,   PTRDIFF_MAX - 32,         (size_t)PTRDIFF_MAX - alignment / 2,
                          SIZE_MAX - alignment + 17, 0 - alignment,            0 - alignment - 1};
        for (size_t i = 0; i < COUNT(sizes); i++) {
            size_t n = unknown(sizes[i]);
            if (n < (size_t)1 << 48) continue;
            errno = 0;
            void *p = memalign(unknown(alignment), n);
            EXPECT(!p && errno == ENOMEM, "memalign(%zx, %zx): %p, errno %d", alignment, n, p, errno);
            errno = 0;
            p = aligned_alloc(unknown(alignment), n);
            EXPECT(!p && errno == ENOMEM, "aligned_alloc(%zx, %zx): %p, errno %d", alignment, n, p, errno);
            p = &faults;
            int code = posix_memalign(&p, unknown(alignment), n);
            EXPECT(code == ENOMEM && p == &faults, "posix_memalign(%zx, %zx): %d, %p", alignment, n, code, p);
        }
    }
    /* Alignments that no address space has room for, with a harmless size. */
    for (int bit = 50; bit <= 63; bit++) {
        size_t alignment = (size_t)1 << bit;
        errno = 0;
        void *p = memalign(unknown(alignment), 1);
        EXPECT(!p && errno == ENOMEM, "memalign(%zx, 1): %p, errno %d", alignment, p, errno);
        int code = posix_memalign(&p, unknown(alignment), 1);
        EXPECT(code == ENOMEM, "posix_memalign(%zx, 1): %d", alignment, code);
    }
    /* Above the highest power of two there is none to round up to. */
    errno = 0;
    void *p = memalign(unknown(((size_t)1 << 63) + 1), 1);
    EXPECT(!p && errno == EINVAL, "memalign of more than 2^63: %p, errno %d", p, errno);
    void *after = malloc(100);
    EXPECT(after, "malloc after all of it");
    free(after);
    return finish();
}
