/* A sized free that is told a wrong size is stopped. Arguments: the size asked for, the size told, and for
 * free_aligned_sized the alignment. Reaching the end is the fault here. */
#include "../expect.h"

void free_sized(void *, size_t);
void free_aligned_sized(void *, size_t alignment, size_t);

int main(int count, char **args) {
    NEED(count >= 3, "two sizes are needed");
    size_t asked = strtoul(args[1], NULL, 0), told = strtoul(args[2], NULL, 0);
    if (count > 3) {
        size_t alignment = strtoul(args[3], NULL, 0);
        free_aligned_sized(aligned_alloc(alignment, asked), alignment, told);
    } else {
        free_sized(malloc(asked), told);
    }
    /* By the next calls at the latest. */
    for (int i = 0; i < 100; i++) free(malloc(asked));
    say("%zu bytes were freed as %zu and nothing happened\n", asked, told);
    return 0;
}
