/* The same pointer freed twice, with other allocations in between. The second free is where the program is stopped, not
 * some later and innocent call. */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    /* volatile: the compiler would see the fault and warn, and might change it. */
    char *volatile twice = malloc(40);
    char *other = malloc(400);
    free(twice);
    free(other);
    puts("freed once");
    fflush(stdout);
    free(twice);
    puts("freed twice, and nobody noticed");
    return 0;
}
