/* A4: the walked heap as text, for the test to compare: which chunks, how large, in what order. */
#include "hg.h"

int main(void) {
    byte *p[5];
    size_t n[5] = {32, 128, 24, 1000, 0};
    for (int i = 0; i < 5; i++) p[i] = get(n[i]);
    byte *sep = get(32);
    free(p[3]);
    struct region r = break_region();
    uintptr_t c = (uintptr_t)p[0] - 16;
    for (int i = 0; i < 6; i++) {
        void *q = (void *)(c + 16);
        say("+%lu %zu %s", c + 16 - (uintptr_t)p[0], chunk_size(q), is_binned(q) ? "free" : "used");
        c += chunk_size(q);
    }
    MUST((byte *)c > sep && c < r.end);
    walk(0);
    must_be_sound();
    return 0;
}
