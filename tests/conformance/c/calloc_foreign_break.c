/* calloc's memory is zero also where another user of sbrk left half a page written behind the break. */
#include "../expect.h"

int main(void) {
    for (int round = 0; round < 5; round++) {
        char *theirs = sbrk(9000);
        NEED(theirs != (char *)-1, "sbrk: %s", strerror(errno));
        memset(theirs, 0xff, 9000);
        NEED(sbrk(-3000) != (void *)-1, "sbrk: %s", strerror(errno));
        char *block[60];
        for (int i = 0; i < 60; i++) {
            block[i] = calloc(1, 3000);
            NEED(block[i], "calloc");
            EXPECT(zeroes(block[i], 3000) == 3000, "round %d, block %d: byte %zu isn't zero", round, i,
                   zeroes(block[i], 3000));
        }
        for (int i = 1; i < 60; i += 2) free(block[i]);
        for (int i = 0; i < 6000; i++) EXPECT(theirs[i] == (char)0xff, "round %d: byte %d of theirs was changed", round, i);
    }
    return finish();
}
