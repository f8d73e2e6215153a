/* Heaps made and given back over and over: their records serve again. Once each heap left its record behind. */
#include "../contract/hg.h"

enum { ROUNDS = 8000, LENGTH = 31 << 20 };

static void *life(void *unused) {
    size_t settled = 0;
    for (int round = 0; round < ROUNDS; round++) {
        void *p[5];
        for (int i = 0; i < 5; i++) p[i] = get(LENGTH);
        for (int i = 0; i < 5; i++) free(p[i]);
        if (round == ROUNDS / 8) settled = resident();
    }
    MUST(resident() < settled + (512u << 10), "%zu bytes resident, %zu after an eighth", resident(), settled);
    must_be_sound();
    return unused;
}

int main(void) {
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    in_thread(life, NULL);
    return 0;
}
