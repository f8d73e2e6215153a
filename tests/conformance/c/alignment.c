/* Every block starts at a multiple of 16, whatever its size and whichever call made it. */
#include "../expect.h"

static void check(size_t n) {
    char *m = malloc(n), *c = calloc(1, n), *r = realloc(NULL, n);
    EXPECT(m && c && r, "size %zu: %p %p %p", n, (void *)m, (void *)c, (void *)r);
    EXPECT(aligned(m, 16) && aligned(c, 16) && aligned(r, 16), "size %zu: %p %p %p", n, (void *)m, (void *)c, (void *)r);
    if (n) m[0] = m[n - 1] = c[0] = c[n - 1] = r[0] = r[n - 1] = 1;
    r = realloc(r, n + n / 2 + 1);
    EXPECT(r && aligned(r, 16), "realloc %zu to half as much again: %p", n, (void *)r);
    free(m);
    free(r);
    free(c);
}

int main(void) {
    for (size_t n = 0; n <= 5000; n++) check(n);
    /* Again, with one block of each size alive. */
    static void *live[5001];
    for (size_t n = 0; n <= 5000; n++) {
        live[n] = malloc(n);
        EXPECT(live[n] && aligned(live[n], 16), "size %zu: %p", n, live[n]);
    }
    for (size_t n = 0; n <= 5000; n++) free(live[n]);
    for (size_t n = 4096; n <= 64 * MIB; n *= 2)
        for (size_t around = 0; around <= 48; around++) check(n - 24 + around);
    return finish();
}
