/* A14: a mapped chunk grows and shrinks with mremap. Untouched pages stay untouched: nothing was copied. */
#include "hg.h"

#define MIB (1ul << 20)

int main(void) {
    byte *p = get(64 * MIB);
    MUST(chunk_flags(p) & M);
    p[0] = 1;
    p[64 * MIB - 1] = 2;
    size_t before = resident();
    mark("grow");
    byte *q = realloc(p, 512 * MIB);
    mark("grown");
    MUST(q != NULL && q[0] == 1 && q[64 * MIB - 1] == 2);
    MUST(chunk_flags(q) & M && (uintptr_t)q % 16 == 0);
    q[512 * MIB - 1] = 3;
    MUST(resident() < before + MIB, "%zu, %zu before", resident(), before);
    mark("shrink");
    byte *r = realloc(q, 200 * MIB);
    mark("shrunk");
    MUST(r != NULL && r[0] == 1 && r[64 * MIB - 1] == 2);
    r[200 * MIB - 1] = 4;
    must_be_sound();
    mark("free");
    free(r);
    mark("done");
    must_be_sound();
    return 0;
}
