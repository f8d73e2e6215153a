/* realloc(NULL, n) is malloc(n). */
#include "../expect.h"

int main(void) {
    size_t sizes[] = {0, 1, 16, 24, 25, 1000, 1032, 1033, 70000, 131072, 1 * MIB, 20 * MIB};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        char *p = realloc(opaque(NULL), sizes[i]), *q = realloc(opaque(NULL), sizes[i]);
        NEED(p && q, "realloc(NULL, %zu)", sizes[i]);
        EXPECT(p != q, "the same block twice");
        fill(p, i, 0, sizes[i]);
        fill(q, i + 100, 0, sizes[i]);
        EXPECT(intact(p, i, sizes[i]) == sizes[i], "blocks of %zu overlap", sizes[i]);
        free(p);
        free(q);
    }
    return finish();
}
