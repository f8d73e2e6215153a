/* A request over PTRDIFF_MAX fails with ENOMEM, in every function, and realloc leaves the old block as it was. */
#include "../expect.h"
#include <malloc.h>

#define FAILS(call)                                                                                     \
    do {                                                                                                \
        errno = 0;                                                                                      \
        void *got = (call);                                                                             \
        EXPECT(!got && errno == ENOMEM, "size %zx: %s gave %p, errno %d", n, #call, got, errno);         \
    } while (0)

static void check(size_t n, char *p) {
    FAILS(malloc(n));
    FAILS(calloc(1, n));
    FAILS(calloc(n, 1));
    FAILS(realloc(NULL, n));
    FAILS(realloc(p, n));
    FAILS(reallocarray(NULL, n, 1));
    FAILS(reallocarray(p, 1, n));
    FAILS(memalign(16, n));
    FAILS(memalign(4096, n));
    FAILS(aligned_alloc(64, n));
    FAILS(valloc(n));
    FAILS(pvalloc(n));
    void *untouched = &faults;
    for (size_t alignment = 8; alignment <= 64 * KIB; alignment *= 2) {
        int code = posix_memalign(&untouched, alignment, n);
        EXPECT(code == ENOMEM, "size %zx: posix_memalign gave %d", n, code);
        EXPECT(untouched == &faults, "size %zx: posix_memalign wrote %p", n, untouched);
    }
}

int main(void) {
    char *p = malloc(100);
    NEED(p, "malloc(100)");
    fill(p, 1, 0, 100);
    for (size_t back = 0; back < 3000; back++) check(unknown(SIZE_MAX - back), p);
    for (size_t back = 4096; back; back = back < SIZE_MAX / 4 ? back * 2 : 0) {
        check(unknown(SIZE_MAX - back), p);
        check(unknown(SIZE_MAX - back + 1), p);
    }
    for (size_t over = 0; over < 3000; over++) check(unknown((size_t)PTRDIFF_MAX + 1 + over), p);
    for (size_t over = 4096; over < (size_t)PTRDIFF_MAX / 2; over *= 2) check(unknown((size_t)PTRDIFF_MAX + over), p);
    /* PTRDIFF_MAX itself may be asked for, and isn't to be had either. */
    for (size_t under = 0; under < 5000; under++) check(unknown((size_t)PTRDIFF_MAX - under), p);
    EXPECT(intact(p, 1, 100) == 100, "the block that could not grow was changed");
    free(p);
    return finish();
}
