/* A3: others move the break. Their bytes stay theirs, and the memory below stays ours to use again. */
#include "hg.h"

enum { ROUNDS = 60, EACH = 70, SIZE = 1000, BIG = 100000 };
static byte *ours[ROUNDS][EACH];
static byte *theirs[ROUNDS];

static void all_same(const byte *p, byte with, size_t n) {
    for (size_t i = 0; i < n; i++) MUST(p[i] == with, "%p + %zu is %d, not %d", p, i, p[i], with);
}

int main(void) {
    void *low[10], *gap[10];
    for (int i = 0; i < 10; i++) low[i] = get(BIG), gap[i] = get(32);
    byte *foreign = sbrk(4096);
    if (foreign == (void *)-1) {
        say("left out: no sbrk here");
        return 0;
    }
    memset(foreign, 0x5A, 4096);
    for (int i = 0; i < 10; i++) MUST((byte *)low[i] < foreign);
    for (int i = 0; i < 10; i++) free(low[i]);
    free(get(600000));
    int below = 0;
    for (int i = 0; i < 10; i++) {
        low[i] = get(BIG);
        below += (byte *)low[i] < foreign;
        memset(low[i], 0x11, BIG);
    }
    MUST(below >= 8, "%d of 10 came from below the foreign bytes", below);
    all_same(foreign, 0x5A, 4096);

    for (int r = 0; r < ROUNDS; r++) {
        for (int i = 0; i < EACH; i++) memset(ours[r][i] = get(SIZE), r + i, SIZE);
        theirs[r] = sbrk(4096);
        MUST(theirs[r] != (void *)-1);
        memset(theirs[r], 0x80 | r, 4096);
    }
    for (int r = 0; r < ROUNDS; r++) {
        all_same(theirs[r], 0x80 | r, 4096);
        for (int i = 0; i < EACH; i++) all_same(ours[r][i], r + i, SIZE);
    }
    must_be_sound();
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < EACH; i++) free(ours[r][i]);
    malloc_trim(0);
    for (int r = 0; r < ROUNDS; r++) all_same(theirs[r], 0x80 | r, 4096);
    all_same(foreign, 0x5A, 4096);
    for (int i = 0; i < 10; i++) all_same(low[i], 0x11, BIG);
    must_be_sound();
    return 0;
}
