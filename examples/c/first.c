/* Three allocations in a fresh process: two small ones side by side in the heap that grows with the program break, and a
 * large one that gets a mapping of its own.
 *
 * Addresses differ from run to run, so they are printed relative to each other. Nothing is printed before the last
 * allocation has been made, because printf allocates too. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_mapped(uintptr_t page) {
    unsigned char resident;
    return mincore((void *)page, 1, &resident) == 0 || errno != ENOMEM;
}

int main(void) {
    char *break_before = sbrk(0);
    char *small = malloc(32);
    char *middle = malloc(128);
    char *break_small = sbrk(0);
    char *large = malloc(256 * 1024);
    char *break_large = sbrk(0);

    uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first_page = (uintptr_t)large & ~(page_size - 1);
    int in_heap = large >= break_before && large < break_large;
    int mapped_before = is_mapped(first_page);
    free(large);
    int mapped_after = is_mapped(first_page);

    printf("malloc(32)      in the heap: %s\n", small >= break_before && small < break_small ? "yes" : "no");
    printf("malloc(128)     %td bytes after the first\n", middle - small);
    printf("the break       moved by %td bytes for both\n", break_small - break_before);
    printf("malloc(262144)  in the heap: %s, %ju bytes past the start of a page\n", in_heap ? "yes" : "no",
           (uintmax_t)((uintptr_t)large - first_page));
    printf("the break       moved by %td bytes for it\n", break_large - break_small);
    printf("free(large)     its mapping was there: %s, is still there: %s\n", mapped_before ? "yes" : "no",
           mapped_after ? "yes" : "no");
    free(middle);
    free(small);
    return 0;
}
