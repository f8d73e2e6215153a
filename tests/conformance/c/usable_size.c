/* malloc_usable_size is at least what was asked for, stays the same, and every byte of it may be written. 0 for null. */
#include "../expect.h"
#include <malloc.h>

static void check(size_t n) {
    char *left = malloc(n), *p = malloc(n), *right = malloc(n);
    NEED(left && p && right, "malloc(%zu)", n);
    size_t whole = malloc_usable_size(p), left_whole = malloc_usable_size(left), right_whole = malloc_usable_size(right);
    EXPECT(whole >= n, "%zu asked, %zu usable", n, whole);
    fill(left, 1, 0, left_whole);
    fill(right, 3, 0, right_whole);
    fill(p, 2, 0, whole);
    EXPECT(intact(left, 1, left_whole) == left_whole, "size %zu: the block before was overwritten", n);
    EXPECT(intact(right, 3, right_whole) == right_whole, "size %zu: the block after was overwritten", n);
    EXPECT(malloc_usable_size(p) == whole, "%zu asked, %zu usable, then %zu", n, whole, malloc_usable_size(p));
    free(left);
    EXPECT(malloc_usable_size(p) == whole, "%zu asked, %zu usable, then %zu", n, whole, malloc_usable_size(p));
    free(right);
    EXPECT(malloc_usable_size(p) == whole, "%zu asked, %zu usable, then %zu", n, whole, malloc_usable_size(p));
    EXPECT(intact(p, 2, whole) == whole, "size %zu: byte %zu changed by the neighbours' frees", n, intact(p, 2, whole));
    /* Programs ask for the usable size and then use it: realloc must keep all of it. */
    p = realloc(p, whole + 1);
    NEED(p, "realloc");
    EXPECT(intact(p, 2, whole) == whole, "size %zu: byte %zu lost by realloc", n, intact(p, 2, whole));
    EXPECT(malloc_usable_size(p) > whole, "%zu usable after realloc to more", malloc_usable_size(p));
    free(p);
}

int main(void) {
    EXPECT(malloc_usable_size(opaque(NULL)) == 0, "of null: %zu", malloc_usable_size(opaque(NULL)));
    for (size_t n = 0; n <= 3000; n++) check(n);
    for (size_t n = 4096; n <= 4 * MIB; n *= 2)
        for (size_t around = 0; around < 40; around += 3) check(n - 20 + around);
    check(40 * MIB);
    return finish();
}
