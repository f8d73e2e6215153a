/* A15 in classic mode: the space before an aligned chunk, and behind it, is free to be used. */
#include "hg.h"

int main(void) {
    byte *s0 = get(32);
    while ((uintptr_t)s0 % 4096 < 256 || (uintptr_t)s0 % 4096 > 1024) s0 = get(32);
    byte *p = memalign(4096, 1000);
    MUST((uintptr_t)p % 4096 == 0 && chunk_size(p) == chunk_for(1000), "%p of %zu", p, chunk_size(p));
    byte *lead = next_chunk(s0);
    MUST(next_chunk(lead) == p, "one chunk fills the space before: %p %zu", lead, chunk_size(lead));
    MUST(is_binned(lead) && prev_size(p) == chunk_size(lead));
    struct walked w = walk(0);
    MUST(w.top == next_chunk(p), "what lay behind it joined the top");
    must_be_sound();
    MUST(malloc(chunk_size(lead) - 8) == lead, "and it serves");
    free(lead);
    free(p);
    MUST(walk(0).top == lead);
    must_be_sound();
    return 0;
}
