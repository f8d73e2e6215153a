/* Many small allocations, then larger ones, freed in reverse order: the heap grows with the break and goes back with it,
 * because each chunk that is freed is the last one below the free top of the heap, and becomes part of it.
 *
 * Of the small ones, those that are freed first stay with the thread, ready to be used again, and just these lie below the
 * top: they hold the rest until malloc_trim calls them in. With HEAPGLASS=tcache:0 nothing is held. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SMALL_COUNT = 10000, SMALL_BYTES = 200, LARGE_COUNT = 100, LARGE_BYTES = 100000 };

static char *small[SMALL_COUNT];
static char *large[LARGE_COUNT];
static char *break_start;

static void say(const char *when) {
    /* Not through stdio, whose buffer would be one more allocation. */
    char line[80];
    int length = snprintf(line, sizeof line, "%-28s%10td\n", when, (char *)sbrk(0) - break_start);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        exit(1);
}

int main(void) {
    break_start = sbrk(0);
    say("break at the start");
    for (int i = 0; i < SMALL_COUNT; i++) {
        small[i] = malloc(SMALL_BYTES);
        memset(small[i], 's', SMALL_BYTES);
    }
    say("after 10,000 of 200 bytes");
    for (int i = 0; i < LARGE_COUNT; i++) {
        large[i] = malloc(LARGE_BYTES);
        memset(large[i], 'l', LARGE_BYTES);
    }
    say("after 100 of 100,000 bytes");
    for (int i = LARGE_COUNT - 1; i >= 0; i--)
        free(large[i]);
    say("after freeing the large");
    for (int i = SMALL_COUNT - 1; i >= 0; i--)
        free(small[i]);
    say("after freeing the small");
    malloc_trim(0);
    say("after malloc_trim");
    return 0;
}
