/* reallocarray is realloc of count times size; when that doesn't fit it fails with ENOMEM and the block stays intact. */
#include "../expect.h"

int main(void) {
    size_t sizes[] = {1, 100, 5000, 100000, 300000, 5 * MIB};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t n = sizes[i];
        char *p = reallocarray(NULL, n, 1);
        NEED(p, "reallocarray(NULL, %zu, 1)", n);
        fill(p, i, 0, n);
        struct { size_t count, size; } wraps[] = {
            {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2 + 1, 2}, {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX / 8 + 2, 8},
        };
        for (size_t k = 0; k < COUNT(wraps); k++) {
            errno = 0;
            void *got = reallocarray(opaque(p), unknown(wraps[k].count), unknown(wraps[k].size));
            EXPECT(!got && errno == ENOMEM, "of %zu bytes to %zx x %zx: %p, errno %d", n, wraps[k].count, wraps[k].size, got,
                   errno);
            EXPECT(intact(p, i, n) == n, "of %zu bytes: byte %zu changed", n, intact(p, i, n));
        }
        char *q = reallocarray(p, n, 3);
        NEED(q, "to 3 x %zu", n);
        EXPECT(intact(q, i, n) == n, "to 3 x %zu: byte %zu lost", n, intact(q, i, n));
        fill(q, i, n, 3 * n);
        q = reallocarray(q, 1, n);
        NEED(q, "back to %zu", n);
        EXPECT(intact(q, i, n) == n, "back to %zu: byte %zu lost", n, intact(q, i, n));
        void *gone = reallocarray(q, unknown(0), n);
        EXPECT(!gone, "reallocarray(p, 0, %zu) gave %p", n, gone);
    }
    return finish();
}
