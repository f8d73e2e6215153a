/* Asks for so many KiB in one piece, writes to all of them, and ends. */
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    size_t size = (argc > 1 ? strtoul(argv[1], NULL, 10) : 0) * 1024;
    volatile char *p = malloc(size);
    if (p == NULL)
        return 1;
    memset((char *)p, 1, size);
    return p[size / 2] != 1;
}
