/* A14: calloc does not touch memory that is fresh from the kernel, and does clear what was used before.
 * Arguments: which function takes the memory; prints by how much resident memory rose for chunks cut off the top. */
#include "hg.h"

#define MIB (1ul << 20)

static byte *take(const char *with, size_t n) {
    byte *p = !strcmp(with, "calloc") ? calloc(1, n) : malloc(n);
    MUST(p != NULL);
    return p;
}

static void all_zero(const byte *p, size_t n) {
    for (size_t i = 0; i < n; i++) MUST(p[i] == 0, "byte %zu of %zu is %d", i, n, p[i]);
}

int main(int argc, char **argv) {
    free(get(32));
    resident();
    size_t before = resident();
    byte *mapped = calloc(64, MIB);
    MUST(resident() < before + MIB, "64 MiB mapped: %zu, %zu before", resident(), before);
    MUST(mapped[0] == 0 && mapped[64 * MIB - 1] == 0);

    before = resident();
    byte *p[20];
    for (int i = 0; i < 20; i++) p[i] = take(argv[1], 100 * 1024);
    MUST(!(chunk_flags(p[19]) & M));
    say("rose %zu", resident() - before);
    if (!strcmp(argv[1], "malloc")) return 0;
    for (int i = 0; i < 20; i++) all_zero(p[i], 100 * 1024);

    /* Used memory of every origin: cached, from bins, from the top again. */
    static const size_t sizes[] = {1, 24, 100, 128, 200, 1000, 5000, 30000, 70000, 100000, 200000};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            byte *q = get(sizes[i]), *sep = get(40);
            memset(q, 0xEE, malloc_usable_size(q));
            free(q);
            byte *z = calloc(sizes[i], 1);
            all_zero(z, sizes[i]);
            memset(z, 0xEE, malloc_usable_size(z));
            free(z);
            free(sep);
        }
    for (int i = 0; i < 20; i++) {
        memset(p[i], 0xEE, 100 * 1024);
        free(p[i]);
    }
    for (int i = 0; i < 20; i++) all_zero(p[i] = calloc(1, 100 * 1024), 100 * 1024);
    all_zero(calloc(100, 9000), 900000);
    must_be_sound();
    return 0;
}
