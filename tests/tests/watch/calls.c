/* Makes calls, one after another, for as long as its standard input is open; each tenth allocation stays. With an argument: so many
 * allocations of 64 bytes and their frees, and an exit status of 7.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc > 1) {
        for (long left = atol(argv[1]); left > 0; left--) {
            free(malloc(64));
        }
        return 7;
    }
    puts("ready");
    fflush(stdout);
    struct pollfd input = {.fd = 0, .events = POLLIN};
    for (unsigned round = 0; poll(&input, 1, 1) == 0; round++) {
        for (unsigned size = 16; size < 2000; size += 16) {
            char *chunk = malloc(size);
            memset(chunk, 1, size);
            if ((size / 16 + round) % 10 != 0 || round > 500) {
                free(chunk);
            }
        }
    }
    return 0;
}
