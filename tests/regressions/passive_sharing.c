/* A thread frees what another made for it and goes on with chunks of its own: none of them may be the other's again, whose
 * neighbours are still in the other's hands and lie in the same cache lines. With an argument the thread has used chunks of that
 * size before, and may take so many rounds to get rid of the other's. */
#include "../contract/hg.h"

enum { GIFTS = 8, SIZE = 24 };
static byte *gifts[GIFTS], *kept[GIFTS];

static void *life(void *before) {
    byte *own[GIFTS];
    int late = *(int *)before;
    if (late) free(get(SIZE));
    for (int i = 0; i < GIFTS; i++) free(gifts[i]);
    for (int round = -late; round < 100; round++) {
        for (int i = 0; i < GIFTS; i++) own[i] = get(SIZE);
        for (int i = 0; i < GIFTS; i++)
            for (int j = 0; round >= 0 && j < GIFTS; j++) MUST(own[i] != gifts[j], "round %d: gift %d again", round, j);
        for (int i = 0; i < GIFTS; i++) free(own[i]);
    }
    return NULL;
}

int main(int argc, char **argv) {
    for (int i = 0; i < 3000; i++) free(get(500)); /* onto the fast path */
    for (int i = 0; i < GIFTS; i++) gifts[i] = get(SIZE), kept[i] = get(SIZE);
    int late = argc > 1 ? atoi(argv[1]) : 0;
    in_thread(life, &late);
    for (int i = 0; i < GIFTS; i++) free(kept[i]);
    must_be_sound();
    return 0;
}
