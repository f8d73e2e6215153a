/* A14: a chunk that grows in place over the edge of the exact classes is as long as was asked for. */
#include "hg.h"

int main(void) {
    /* Past the first calls of a process, which take another path. */
    for (int i = 0; i < 2000; i++) free(get(5000));
    for (size_t request = 1000; request < 1300; request++) {
        malloc_trim(0);
        /* Cut by itself, from the top; what it gives up is the top again. */
        byte *p = realloc(get(90000), 900);
        p = realloc(p, request);
        MUST(p && malloc_usable_size(p) >= request, "%zu usable of %zu", malloc_usable_size(p), request);
        memset(p, 1, request);
        must_be_sound();
        free(p);
    }
    say("done");
}
