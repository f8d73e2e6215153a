/* Half a million chunks, of which all but each hundredth are freed, so that those that stay pin pages and the top; then, at the
 * first byte of standard input, malloc_trim. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNKS = 300000 };
static char *chunks[CHUNKS];

static int pause_here(void) {
    char byte;
    puts("ready");
    fflush(stdout);
    return read(0, &byte, 1) > 0;
}

int main(void) {
    static char out[4096];
    setvbuf(stdout, out, _IOFBF, sizeof out);
    for (int i = 0; i < CHUNKS; i++) {
        chunks[i] = malloc(200);
        memset(chunks[i], 1, 200);
    }
    for (int i = 0; i < CHUNKS; i++)
        if (i % 100) free(chunks[i]);
    if (!pause_here()) return 0;
    malloc_trim(0);
    pause_here();
    return 0;
}
