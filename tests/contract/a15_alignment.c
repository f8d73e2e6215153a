/* A15: 16 bytes for every size, and any power of two with the aligned functions. */
#include "hg.h"

static void check_at(byte *p, size_t align, size_t n) {
    MUST(p != NULL && (uintptr_t)p % align == 0, "%p for alignment %zu, %zu bytes", p, align, n);
    MUST(malloc_usable_size(p) >= n);
    memset(p, 0xC3, n);
}

static void *life(void *unused) {
    for (size_t n = 0; n < 6000; n += n < 1100 ? 1 : 97) {
        byte *p = malloc(n), *q = calloc(n, 1);
        check_at(p, 16, n);
        check_at(q, 16, n);
        check_at(p = realloc(p, n + 700), 16, n);
        free(p);
        free(q);
    }
    for (size_t n = 1000; n < 3000000; n = n * 3 / 2) {
        byte *p = get(n);
        check_at(p, 16, n);
        free(p);
    }
    static const size_t sizes[] = {0, 1, 24, 100, 1000, 5000, 70000, 200000, 1000000};
    void *kept[sizeof sizes / sizeof *sizes * 26];
    int count = 0;
    for (size_t align = 16; align <= 1ul << 24; align *= 2)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = sizes[i];
            byte *p = memalign(align, n), *q = aligned_alloc(align, n);
            void *r = NULL;
            check_at(p, align, n);
            check_at(q, align, n);
            MUST(posix_memalign(&r, align, n) == 0);
            check_at(r, align, n);
            free(q);
            free(r);
            kept[count++] = p;
        }
    must_be_sound();
    while (count) free(kept[--count]);
    must_be_sound();
    return unused;
}

int main(void) {
    life(NULL);
    in_thread(life, NULL);
    return 0;
}
