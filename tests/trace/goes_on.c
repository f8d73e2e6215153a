/* Many calls, and at the end a file that says that it came so far: goes_on.c FILE. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    (void)argc;
    for (int i = 0; i < 200000; i++) free(malloc(i % 500));
    FILE *file = fopen(argv[1], "w");
    if (!file) return 1;
    fputs("done\n", file);
    return fclose(file);
}
