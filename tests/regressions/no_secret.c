/* A header overwritten with 1 and any size, in a small program: looked up by realloc, or by the argument `usable`. */
#include "../contract/hg.h"

int main(int argc, char **argv) {
    byte *p = get(100), *q = get(100);
    uint32_t forged[2] = {1, 4096 | P};
    memcpy(q - 8, forged, 8);
    say("address %p", q);
    if (argc > 1) {
        say("%zu", malloc_usable_size(q));
    } else {
        say("%p", realloc(q, 3000));
    }
    free(p);
    return 0;
}
