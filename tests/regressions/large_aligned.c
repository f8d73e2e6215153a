/* Aligned requests whose chunk, with the room to align it, would be longer than a header can say. Once the length was cut to
 * the header's bits, and the heap with it. Without mappings the heap must refuse. */
#include "../contract/hg.h"

static void refused(size_t align, size_t n) {
    errno = 0;
    void *p = memalign(align, n);
    MUST(!p && errno == ENOMEM, "memalign(%#zx, %#zx) is %p, errno %d", align, n, p, errno);
    must_be_sound();
    byte *q = get(100);
    memset(q, 1, malloc_usable_size(q));
    free(q);
    must_be_sound();
}

int main(void) {
    MUST(mallopt(M_MMAP_MAX, 0));
    refused((size_t)1 << 32, 100);
    refused((size_t)1 << 33, 1);
    refused((size_t)1 << 20, 0xfffff000);
    refused((size_t)1 << 31, (size_t)1 << 31);
    refused(64, 0xfffffff0);
    return 0;
}
