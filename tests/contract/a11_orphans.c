/* A11: a thread takes 50 MB and ends; the main thread frees it all, thirty times. Nothing may be lost. */
#include "hg.h"

enum { COUNT = 50000 };
static byte *p[COUNT];

static void *taker(void *unused) {
    for (int i = 0; i < COUNT; i++) memset(p[i] = get(1000), i, 1000);
    return unused;
}

int main(void) {
    size_t first = 0;
    for (int round = 0; round < 30; round++) {
        in_thread(taker, NULL);
        if (round == 0) first = resident();
        for (int i = 0; i < COUNT; i++) {
            MUST(p[i][0] == (byte)i && p[i][999] == (byte)i, "round %d, chunk %d", round, i);
            free(p[i]);
        }
    }
    MUST(resident() < 2 * first + (32u << 20), "%zu bytes resident, %zu after the first round", resident(), first);
    must_be_sound();
    return 0;
}
