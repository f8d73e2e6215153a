/* posix_memalign returns EINVAL for an alignment that is no power of two times the size of a pointer, and ENOMEM where there
 * is no memory; *memptr stays, and errno is left alone by a bad alignment and by success. */
#include "../expect.h"

int main(void) {
    size_t bad[] = {0, 1, 2, 3, 4, 5, 7, 9, 12, 15, 17, 24, 40, 48, 100, 1000, 4095, 12288, SIZE_MAX, ((size_t)1 << 63) + 8};
    for (size_t i = 0; i < COUNT(bad); i++) {
        void *p = &faults;
        errno = 4321;
        int code = posix_memalign(&p, unknown(bad[i]), 100);
        EXPECT(code == EINVAL, "alignment %zu: %d", bad[i], code);
        EXPECT(p == &faults, "alignment %zu: wrote %p", bad[i], p);
        EXPECT(errno == 4321, "alignment %zu: errno became %d", bad[i], errno);
    }
    for (size_t alignment = sizeof(void *); alignment <= 1 * MIB; alignment *= 2) {
        void *p = NULL;
        errno = 4321;
        int code = posix_memalign(&p, alignment, 100);
        EXPECT(code == 0 && p && aligned(p, alignment), "alignment %zu: %d, %p", alignment, code, p);
        EXPECT(errno == 4321, "alignment %zu: errno became %d", alignment, errno);
        free(p);
    }
    return finish();
}
