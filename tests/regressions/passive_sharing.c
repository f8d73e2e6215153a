/* A thread frees what another made for it and goes on with chunks of its own: none of them may be the other's again, whose
 * neighbours are still in the other's hands and lie in the same cache lines. */
#include "../contract/hg.h"

enum { GIFTS = 8, SIZE = 24 };
static byte *gifts[GIFTS], *kept[GIFTS];

static void *life(void *unused) {
    byte *own[GIFTS];
    for (int i = 0; i < GIFTS; i++) free(gifts[i]);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < GIFTS; i++) own[i] = get(SIZE);
        for (int i = 0; i < GIFTS; i++)
            for (int j = 0; j < GIFTS; j++) MUST(own[i] != gifts[j], "round %d: gift %d again", round, j);
        for (int i = 0; i < GIFTS; i++) free(own[i]);
    }
    return unused;
}

int main(int argc, char **argv) {
    for (int i = 0; i < 3000; i++) free(get(500)); /* onto the fast path */
    for (int i = 0; i < GIFTS; i++) gifts[i] = get(SIZE), kept[i] = get(SIZE);
    in_thread(life, NULL);
    for (int i = 0; i < GIFTS; i++) free(kept[i]);
    must_be_sound();
    return 0;
}
