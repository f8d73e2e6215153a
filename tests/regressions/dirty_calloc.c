/* A freed mapping that the kernel will neither unmap (that would split another, and there are no more to be had) nor empty
 * (its pages are locked). Once it was kept for the next request of its length, calloc's too, with its bytes as they were. */
#include "../contract/hg.h"

enum { COUNT = 16, LENGTH = 200000 };
static byte *p[COUNT];

static int is_ours(const byte *at) {
    for (int i = 0; i < COUNT; i++)
        if (p[i] == at) return 1;
    return 0;
}

/* One with neighbours of ours on both sides, which the kernel has joined with it: some may lie in holes by themselves. */
static int between_two(size_t page) {
    size_t stride = (LENGTH + 16 + page - 1) & -page;
    for (int i = 0; i < COUNT; i++)
        if (is_ours(p[i] - stride) && is_ours(p[i] + stride)) return i;
    MUST(0, "no mapping lies between two others");
    return 0;
}

static int is_dirty(const byte *p) {
    for (size_t i = 0; i < LENGTH; i++)
        if (p[i]) return 1;
    return 0;
}

int main(void) {
    size_t page = sysconf(_SC_PAGESIZE), most = strtoul(slurp("/proc/sys/vm/max_map_count"), NULL, 10);
    if (most > 300000) {
        say("left out: vm.max_map_count is %zu", most);
        return 0;
    }
    mallopt(M_MMAP_THRESHOLD, 131072);
    for (int i = 0; i < COUNT; i++) memset(p[i] = get(LENGTH), 0x5a, LENGTH);
    /* All of them, for only neighbours of a kind are one mapping to the kernel. */
    for (int i = 0; i < COUNT; i++) {
        uintptr_t start = (uintptr_t)p[i] & -page;
        MUST(mlock((void *)start, ((uintptr_t)p[i] + LENGTH - start + page - 1) & -page) == 0, "mlock: errno %d", errno);
    }
    int middle = between_two(page);
    size_t length = (2 * most + 100) * page, at = page;
    byte *region = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(region != MAP_FAILED);
    while (at < length && mprotect(region + at, page, PROT_READ) == 0) at += 2 * page;
    MUST(at < length, "%zu mappings are not the most", most);
    /* Each step took two mappings, so one may be left, and that would be enough to unmap. */
    mprotect(region + length - page, page, PROT_READ);

    free(p[middle]);
    byte resident;
    MUST(mincore((void *)((uintptr_t)p[middle] & -page), page, &resident) == 0, "the kernel took the mapping after all");
    for (int i = 0; i < 20; i++) {
        byte *q = calloc(1, LENGTH);
        if (q) MUST(!is_dirty(q), "calloc's bytes at %p, freed at %p", q, p[middle]);
    }
    must_be_sound();
    munmap(region, length);
    for (int i = 0; i < COUNT; i++)
        if (i != middle) free(p[i]);
    must_be_sound();
    return 0;
}
