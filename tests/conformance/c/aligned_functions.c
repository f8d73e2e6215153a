/* memalign, aligned_alloc and posix_memalign honour every power of two up to 64 MiB, whatever the size. */
#include "../expect.h"
#include <malloc.h>

static void *get(int way, size_t alignment, size_t n) {
    void *p = NULL;
    switch (way) {
    case 0: return memalign(alignment, n);
    case 1: return aligned_alloc(alignment, n);
    default:
        if (alignment < sizeof(void *)) return memalign(alignment, n);
        return posix_memalign(&p, alignment, n) == 0 ? p : NULL;
    }
}

int main(void) {
    for (size_t alignment = 1; alignment <= (size_t)1 << 26; alignment *= 2) {
        size_t sizes[] = {0, 1, 15, 16, 17, 24, 100, alignment - 1, alignment, alignment + 1, 2 * alignment, 1000,
                          3 * alignment + 5, 5000, 100000, 131072, 200000};
        for (size_t i = 0; i < COUNT(sizes); i++)
            for (int way = 0; way < 3; way++) {
                size_t n = sizes[i];
                char *a = get(way, alignment, n), *b = get(way, alignment, n);
                NEED(a && b, "way %d, alignment %zu, size %zu: %p %p", way, alignment, n, (void *)a, (void *)b);
                EXPECT(aligned(a, alignment) && aligned(b, alignment), "way %d, alignment %zu, size %zu: %p %p", way,
                       alignment, n, (void *)a, (void *)b);
                EXPECT(aligned(a, 16), "way %d, alignment %zu: %p", way, alignment, (void *)a);
                EXPECT(malloc_usable_size(a) >= n, "way %d, alignment %zu: %zu of %zu", way, alignment,
                       malloc_usable_size(a), n);
                /* Both are whole and their own. */
                size_t seen = n < 300000 ? n : 300000;
                fill(a, 1, 0, seen);
                fill(b, 2, 0, seen);
                if (n > seen) a[n - 1] = b[n - 1] = 1;
                EXPECT(intact(a, 1, seen) == seen, "way %d, alignment %zu, size %zu: overlapped", way, alignment, n);
                /* An aligned block is resized like any other. */
                char *c = realloc(a, n / 2 + 100);
                NEED(c, "realloc");
                size_t kept = n / 2 + 100 < seen ? n / 2 + 100 : seen;
                EXPECT(intact(c, 1, kept) == kept, "way %d, alignment %zu, size %zu: lost on realloc", way, alignment, n);
                free(b);
                free(c);
            }
    }

    /* Many at a time, of all alignments, freed in another order. */
    enum { MANY = 3000 };
    static char *live[MANY];
    static size_t size[MANY];
    uint64_t random = 99;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < MANY; i++) {
            size_t alignment = (size_t)1 << (next_random(&random) % 13);
            size[i] = next_random(&random) % 3000;
            live[i] = memalign(alignment, size[i]);
            NEED(live[i] && aligned(live[i], alignment), "memalign(%zu, %zu): %p", alignment, size[i], (void *)live[i]);
            fill(live[i], i, 0, size[i]);
        }
        for (int k = 0; k < MANY; k++) {
            int i = (int)((k * 1237L) % MANY);
            EXPECT(intact(live[i], i, size[i]) == size[i], "block %d was overwritten", i);
            free(live[i]);
        }
    }
    return finish();
}
