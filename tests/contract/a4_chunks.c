/* A4: sizes, alignment and header words as promised, and the sequence walked from its sizes alone. */
#include "hg.h"

int main(void) {
    MUST(chunk_size(get(32)) == 48 && chunk_size(get(24)) == 32 && chunk_size(get(0)) == 32);
    MUST(chunk_size(get(1)) == 32 && chunk_size(get(25)) == 48 && chunk_size(get(40)) == 48 && chunk_size(get(41)) == 64);
    for (size_t n = 0; n <= 1000; n++) {
        byte *p = get(n);
        MUST((uintptr_t)p % 16 == 0, "%p", p);
        MUST(chunk_size(p) == chunk_for(n), "malloc(%zu) took %zu", n, chunk_size(p));
        MUST(!(chunk_flags(p) & (M | A)), "malloc(%zu): flags %d", n, chunk_flags(p));
        MUST(malloc_usable_size(p) >= n && malloc_usable_size(p) <= chunk_size(p) - 8);
        MUST(chunk_flags(next_chunk(p)) & P, "malloc(%zu): its neighbour does not know", n);
        if (on_heapglass()) {
            MUST(p[-8] != 0, "the first byte of a cookie is never zero");
            MUST((chunk_word(p) & 8) == 0);
        }
        memset(p, 0xFF, malloc_usable_size(p));
    }
    struct walked w = walk(0);
    MUST(w.chunks > 1000, "%d", w.chunks);
    MUST(w.top != NULL && chunk_flags(w.top) & P);

    /* A random life, walked as it goes. */
    enum { SLOTS = 400 };
    static byte *slot[SLOTS];
    for (int i = 0; i < 20000; i++) {
        int s = next_random() % SLOTS;
        free(slot[s]);
        size_t n = next_random() % (i % 7 ? 300 : 20000);
        slot[s] = get(n);
        memset(slot[s], 0xA5, n);
        MUST(chunk_size(slot[s]) >= chunk_for(n) && (uintptr_t)slot[s] % 16 == 0);
        if (i % 500 == 0) {
            walk(0);
            must_be_sound();
        }
    }
    /* The same words are there for chunks of other arenas and for mapped ones. */
    byte *m = get(262144);
    MUST(chunk_flags(m) & M);
    walk(0);
    must_be_sound();
    return 0;
}
