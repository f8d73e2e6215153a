/* Words that the heap keeps in a free chunk are written to after the free. `role BIT`: a bit of what a large chunk says of its place
 * among those of its length turned the first of them into one of the others, which hung on memory that was somebody's from then on.
 * `pages`: a chunk that waits for its pages to be given back says that they were; whoever gave pages back then looked at it for ever. */
#include "../contract/hg.h"
#include <malloc.h>

enum { LARGE = 40000, APART = 200, ROLE = 4, PAGES = 7 };

int main(int count, char **words) {
    size_t *a = malloc(LARGE), *behind_a = malloc(APART), *b = malloc(LARGE), *behind_b = malloc(APART);
    if (!a || !behind_a || !b || !behind_b) return 1;
    if (count > 2) {
        free(a), free(b);
        /* Neither is long enough: both go to the bin of their length, the first as its leader. */
        if (!malloc(2 * LARGE)) return 1;
        dprintf(1, "address %p\n", (void *)a);
        a[ROLE] ^= (size_t)1 << atoi(words[2]);
        free(behind_a);
    } else {
        free(a);
        malloc_trim(0);
        free(b);
        dprintf(1, "address %p\n", (void *)b);
        b[PAGES] = a[PAGES];
        malloc_trim(0);
    }
    puts("survived");
    return 0;
}
