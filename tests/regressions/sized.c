/* `sized MADE FREED WARM`: free_sized with a size that may be near the right one. Once any within the same doubling passed. */
#include "../contract/hg.h"

void free_sized(void *, size_t) __attribute__((weak));

int main(int argc, char **argv) {
    MUST(argc == 4);
    size_t made = strtoul(argv[1], NULL, 10), freed = strtoul(argv[2], NULL, 10);
    /* The first calls of a process take another path. With the right size nothing stops. */
    for (int i = 0; i < (argv[3][0] == '1' ? 5000 : 1); i++) free_sized(get(made), made);
    byte *p = get(made);
    say("address %p", p);
    free_sized(p, freed);
    say("survived");
    return 0;
}
