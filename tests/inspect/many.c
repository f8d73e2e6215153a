/* Makes as many chunks as it is told, for requests of so many bytes, frees each so-many-th of them, and waits until standard input
 * ends. Nothing else in it allocates: `many 1 24 0` has a heap of three chunks. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **first;

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    long count = atol(argv[1]), bytes = atol(argv[2]), freed = atol(argv[3]);
    for (long i = 0; i < count; i++) {
        char **made = malloc(bytes);
        if (made == NULL) return 1;
        *made = (char *)first;
        first = made;
    }
    char **last = first;
    for (long i = 1; freed > 0 && last != NULL && *last != NULL; i++) {
        char **next = (char **)*last;
        if (i % freed == 0) {
            *last = *next;
            free(next);
        } else {
            last = next;
        }
    }
    char byte;
    return write(1, "ready\n", 6) == 6 && read(0, &byte, 1) > 0;
}
