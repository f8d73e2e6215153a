/* free(NULL) in a program that lies low in memory, and whose break therefore shares the lowest window of addresses with null.
 * Compiled without -pie and run without randomisation. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    for (int i = 0; i < 5000; i++) {
        void *chunk = malloc(40);
        if ((uintptr_t)chunk >> 26 != 0) return 77;
        free(chunk);
        free(NULL);
    }
    puts("done");
    return 0;
}
