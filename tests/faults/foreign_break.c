/* The program moves the break itself, by odd amounts, between its allocations. */
#include "../contract/hg.h"

enum { SLOTS = 500, FOREIGN = 300 };
static byte *slot[SLOTS];
static size_t length[SLOTS];
static byte *foreign[FOREIGN];
static size_t foreign_length[FOREIGN];

static void check(const byte *p, size_t n, byte with) {
    for (size_t i = 0; i < n; i++) MUST(p[i] == with, "%p + %zu of %zu is %#x, not %#x", p, i, n, p[i], with);
}

int main(void) {
    static const size_t steps[] = {7, 1, 4096, 16, 4095, 100000, 33, 65536, 200001};
    if (sbrk(16) == (void *)-1) {
        say("left out: no sbrk here");
        return 0;
    }
    int taken = 0;
    for (int i = 0; i < 60000; i++) {
        int s = next_random() % SLOTS;
        if (slot[s]) check(slot[s], length[s], s);
        free(slot[s]);
        length[s] = 1 + next_random() % (i % 40 == 0 ? 120000 : 2000);
        memset(slot[s] = get(length[s]), s, length[s]);
        if (i % 200 == 199 && taken < FOREIGN) {
            size_t n = steps[taken % (sizeof steps / sizeof *steps)];
            byte *p = sbrk(n);
            MUST(p != (void *)-1);
            memset(p, 0xF0 ^ taken, n);
            if (taken % 4 == 3) {
                /* Taken and given back at once, as some programs do. */
                MUST(sbrk(-(intptr_t)n) != (void *)-1);
                n = 0;
            }
            foreign[taken] = p;
            foreign_length[taken++] = n;
            must_be_sound();
        }
        if (i % 5000 == 0) malloc_trim(0);
    }
    for (int s = 0; s < SLOTS; s++) {
        if (slot[s]) check(slot[s], length[s], s);
        free(slot[s]);
    }
    malloc_trim(0);
    for (int f = 0; f < taken; f++) check(foreign[f], foreign_length[f], 0xF0 ^ f);
    MUST(taken == FOREIGN, "%d", taken);
    must_be_sound();
    return 0;
}
