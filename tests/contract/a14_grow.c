/* A14 in classic mode: realloc grows in place into a free next chunk and into the top, and copies only where it can't. */
#include "hg.h"

int main(void) {
    byte *p = get(1000), *next = get(3000), *sep = get(32);
    memset(p, 0x3C, 1000);
    free(next);
    MUST(realloc(p, 2500) == p, "into the free next chunk");
    MUST(chunk_size(p) == chunk_for(2500) && is_binned(next_chunk(p)));
    MUST(next_chunk(next_chunk(p)) == sep);
    MUST(realloc(p, chunk_for(1000) + chunk_for(3000) - 8) == p && next_chunk(p) == sep, "all of it");
    for (int i = 0; i < 1000; i++) MUST(p[i] == 0x3C);
    byte *moved = realloc(p, 9000);
    MUST(moved != p && is_binned(p), "walled in: it moves, and the old chunk is free");
    for (int i = 0; i < 1000; i++) MUST(moved[i] == 0x3C);

    /* `moved` borders the top: it grows there, through the kernel too. */
    MUST(walk(0).top == next_chunk(moved));
    MUST(realloc(moved, 20000) == moved);
    MUST(walk(0).top == next_chunk(moved));
    for (size_t n = 30000; n < 120000; n += 10000) MUST(realloc(moved, n) == moved, "%zu", n);
    for (int i = 0; i < 1000; i++) MUST(moved[i] == 0x3C);
    walk(0);
    must_be_sound();
    return 0;
}
