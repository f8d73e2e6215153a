/* malloc(0) returns a pointer that isn't null, is no other live block's, and can be freed; so do the others of size 0. */
#include "../expect.h"
#include <malloc.h>

enum { MANY = 2000 };

static int by_address(const void *a, const void *b) {
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return (x > y) - (x < y);
}

static void *none(int i) {
    size_t zero = unknown(0);
    void *p = NULL;
    switch (i % 7) {
    case 0: return malloc(zero);
    case 1: return calloc(zero, 8);
    case 2: return calloc(8, zero);
    case 3: return realloc(NULL, zero);
    case 4: return memalign(64, zero);
    case 5: return reallocarray(NULL, zero, 8);
    default: EXPECT(posix_memalign(&p, 32, zero) == 0, "posix_memalign of 0 bytes"); return p;
    }
}

int main(void) {
    static void *all[MANY];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            all[i] = none(i);
            EXPECT(all[i], "way %d gave null", i % 7);
            EXPECT(aligned(all[i], 16), "way %d gave %p", i % 7, all[i]);
        }
        qsort(all, MANY, sizeof all[0], by_address);
        for (int i = 1; i < MANY; i++) EXPECT(all[i] != all[i - 1], "%p was given twice", all[i]);
        for (int i = 0; i < MANY; i++) free(all[i]);
    }
    return finish();
}
