/* As many calls as the first argument says, and some more that are always the same. */
#include <stdlib.h>

int main(int count, char **words) {
    int calls = count > 1 ? atoi(words[1]) : 0;
    for (int i = 0; i < calls; i++)
        free(malloc(1000));
    void *cleared = calloc(10, 10);
    cleared = realloc(cleared, 1000);
    void *aligned = aligned_alloc(64, 640);
    /* Kept to the end, so it is in use at exit; a mapping of its own. */
    char *kept = malloc(1 << 20);
    kept[0] = 1;
    void *freed = malloc(2 << 20);
    free(freed);
    free(aligned);
    free(cleared);
    return 0;
}
