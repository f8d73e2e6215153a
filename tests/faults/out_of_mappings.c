/* No mapping can be made or split any more (vm.max_map_count). Large requests may fail, small ones go on while the heap has
 * room, and no free ever fails, though it can't unmap. */
#include "../contract/hg.h"

enum { MAPPED = 300, SMALL = 3000 };
static byte *mapped[MAPPED], *small[SMALL], *more[MAPPED];

/* Takes up every mapping that the process may still have. Returns the region. */
static byte *use_up(size_t *length) {
    size_t page = sysconf(_SC_PAGESIZE);
    size_t most = strtoul(slurp("/proc/sys/vm/max_map_count"), NULL, 10);
    if (most > 300000) {
        say("left out: vm.max_map_count is %zu", most);
        _exit(0);
    }
    *length = (2 * most + 100) * page;
    byte *region = mmap(NULL, *length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(region != MAP_FAILED);
    for (size_t at = page; at < *length; at += 2 * page)
        if (mprotect(region + at, page, PROT_READ)) {
            MUST(errno == ENOMEM);
            return region;
        }
    MUST(0, "%zu mappings are not the most", most);
}

static void *life(void *unused) {
    for (int i = 0; i < 1000; i++) {
        byte *p = malloc(1 + i * 37 % 5000), *q = malloc(200000);
        if (p) p[0] = 1;
        if (q) q[0] = q[199999] = 1;
        byte *r = q ? realloc(q, 900000) : NULL;
        if (r) {
            MUST(r[0] == 1 && r[199999] == 1);
            q = r;
        }
        free(p);
        free(q);
    }
    return unused;
}

int main(void) {
    /* The kernel joins neighbours into one mapping; giving back one in the middle splits it, and that will be refused. */
    mallopt(M_MMAP_THRESHOLD, 131072);
    for (int i = 0; i < MAPPED; i++) memset(mapped[i] = get(200000), i, 200000);
    for (int i = 0; i < SMALL; i++) memset(small[i] = get(500), i, 500);
    pthread_t t;
    size_t length;
    byte *region = use_up(&length);

    for (int i = 0; i < MAPPED; i += 2) {
        errno = 5;
        free(mapped[i]);
        MUST(errno == 5, "free changed errno to %d", errno);
        mapped[i] = NULL;
    }
    for (int i = 0; i < SMALL; i += 2) free(small[i]), small[i] = NULL;
    for (int i = 0; i < SMALL; i += 2) MUST((small[i] = malloc(400)) != NULL, "the heap has room");
    for (int i = 0; i < MAPPED; i++) {
        errno = 0;
        more[i] = malloc(200000 + 1000 * i);
        MUST(more[i] || errno == ENOMEM, "errno %d", errno);
        if (more[i]) memset(more[i], i, 200000);
    }
    errno = 0;
    void *aligned = memalign(1 << 16, 300000);
    MUST(aligned || errno == ENOMEM);
    free(aligned);
    life(NULL);
    malloc_trim(0);
    must_be_sound();
    for (int i = 1; i < MAPPED; i += 2) MUST(mapped[i][0] == (byte)i && mapped[i][199999] == (byte)i);
    for (int i = 0; i < MAPPED; i++) free(more[i]);

    munmap(region, length);
    /* And when there is room again, all is as before. */
    for (int i = 0; i < MAPPED; i++) memset(more[i] = get(200000), i, 200000);
    MUST(pthread_create(&t, NULL, life, NULL) == 0);
    life(NULL);
    pthread_join(t, NULL);
    for (int i = 0; i < MAPPED; i++) free(more[i]), free(mapped[i]);
    for (int i = 0; i < SMALL; i++) free(small[i]);
    malloc_trim(0);
    must_be_sound();
    return 0;
}
