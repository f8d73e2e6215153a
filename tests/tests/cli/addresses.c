/* Prints a digest of where its chunks lie, relative to the first one: the same in every run of the same allocator. Mapped
 * chunks, whose place is the kernel's choice, are left out. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    static char *slot[500];
    uint64_t random = 7, digest = 0;
    char *first = malloc(16);
    for (int i = 0; i < 100000; i++) {
        random = random * 6364136223846793005u + 1;
        unsigned k = (random >> 33) % 500;
        free(slot[k]);
        size_t size = (random >> 12) % (random >> 60 == 3 ? 100000 : 900) + 1;
        slot[k] = malloc(size);
        if (!slot[k]) return 1;
        digest = digest * 31 + (uint64_t)(slot[k] - first);
    }
    printf("%llx\n", (unsigned long long)digest);
    return 0;
}
