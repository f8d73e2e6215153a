/* For each number on standard input, so many pairs of malloc(777) and free, and a line that says so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    char line[64];
    int at = 0;
    for (;;) {
        ssize_t got = read(0, line + at, 1);
        if (got < 0) return 1; /* an interrupted read would be a trace of the visit */
        if (got == 0) return 0;
        if (line[at++] != '\n') continue;
        line[at] = 0;
        at = 0;
        int count = atoi(line);
        for (int i = 0; i < count; i++) {
            char *p = malloc(777);
            memset(p, i, 777);
            free(p);
        }
        printf("made %d\n", count);
        fflush(stdout);
    }
}
