/* Chunks of a known size from a known function, of which each hundredth stays, so that those pin pages; a large one; and one that is
 * told by its address. It waits until standard input ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNKS = 20000, ASKED = 195 };
static char *chunks[CHUNKS];

__attribute__((noinline)) static char *keep(void) {
    char *made = malloc(ASKED);
    memset(made, 1, ASKED);
    return made;
}

__attribute__((noinline)) static char *large(void) {
    char *made = malloc(300000);
    memset(made, 1, 300000);
    return made;
}

int main(void) {
    static char out[4096];
    setvbuf(stdout, out, _IOFBF, sizeof out);
    for (int i = 0; i < CHUNKS; i++) chunks[i] = keep();
    char *mapped = large();
    for (int i = 0; i < CHUNKS; i++)
        if (i % 100) free(chunks[i]);
    printf("Process %x %d\n", (unsigned)getpid(), CHUNKS / 100);
    printf("Kept %p %d\n", (void *)chunks[100], ASKED);
    printf("Mapped %p 300000\n", (void *)mapped);
    puts("ready");
    fflush(stdout);
    char byte;
    return read(0, &byte, 1) > 0;
}
