/* valloc and pvalloc return whole pages' starts; pvalloc rounds the size up to whole pages too. */
#include "../expect.h"
#include <malloc.h>

int main(void) {
    size_t page = sysconf(_SC_PAGESIZE);
    size_t sizes[] = {0, 1, 100, page - 1, page, page + 1, 3 * page, 100000, 200000, 5 * MIB + 1};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t n = sizes[i], whole = (n + page - 1) / page * page;
        char *v = valloc(n), *pv = pvalloc(n);
        NEED(v && pv, "size %zu: %p %p", n, (void *)v, (void *)pv);
        EXPECT(aligned(v, page) && aligned(pv, page), "size %zu: %p %p", n, (void *)v, (void *)pv);
        EXPECT(malloc_usable_size(v) >= n, "valloc(%zu) holds %zu", n, malloc_usable_size(v));
        EXPECT(malloc_usable_size(pv) >= whole, "pvalloc(%zu) holds %zu", n, malloc_usable_size(pv));
        fill(v, 1, 0, n);
        fill(pv, 2, 0, whole);
        EXPECT(intact(v, 1, n) == n, "size %zu: overlapped", n);
        free(v);
        free(pv);
    }
    return finish();
}
