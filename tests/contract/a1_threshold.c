/* A1: the mmap threshold moves up when a mapped chunk is freed, unless it was set by hand. The argument says which. */
#include "hg.h"

#define MIB (1ul << 20)

static int mapped(size_t n) {
    void *p = get(n);
    int m = (chunk_flags(p) & M) != 0;
    MUST(m == !in_break(p), "%p", p);
    free(p);
    return m;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "dynamic";
    free(get(100));
    if (!strcmp(what, "dynamic")) {
        void *below = get(131071 - 4096);
        MUST(!(chunk_flags(below) & M));
        MUST(mapped(131072));
        MUST(mapped(MIB));
        MUST(!mapped(MIB), "1 MiB was freed, so the threshold is above it");
        MUST(!mapped(MIB / 2));
        MUST(mapped(2 * MIB));
        MUST(!mapped(2 * MIB));
        MUST(mapped(33 * MIB));
        MUST(mapped(33 * MIB), "over 32 MiB the threshold stays");
        MUST(mapped(4 * MIB), "and a larger one did not raise it either");
    } else if (!strcmp(what, "fixed")) {
        for (int i = 0; i < 4; i++) MUST(mapped(MIB), "round %d", i);
    } else if (!strcmp(what, "mallopt")) {
        MUST(mallopt(M_MMAP_THRESHOLD, 300000) == 1);
        MUST(!mapped(262144));
        for (int i = 0; i < 4; i++) MUST(mapped(MIB), "round %d", i);
    } else {
        /* The trim threshold follows at twice the size: 1.5 MiB of free top may stay after 1 MiB was freed. */
        MUST(mapped(MIB));
        void *p = get(3 * MIB / 4), *q = get(3 * MIB / 4);
        uintptr_t high = the_break();
        free(p);
        free(q);
        MUST(the_break() == high, "%#lx after %#lx", the_break(), high);
    }
    must_be_sound();
    return 0;
}
