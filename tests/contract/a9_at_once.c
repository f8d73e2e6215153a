/* A9: classic mode splits and merges on the very call; otherwise a free of a common size only goes to the cache. */
#include "hg.h"

int main(int argc, char **argv) {
    int classic = argc > 1 && !strcmp(argv[1], "classic");
    byte *s0 = get(32), *a = get(1000), *b = get(1000), *s1 = get(32);
    (void)s0;
    if (classic) {
        MUST(b == next_chunk(a) && s1 == next_chunk(b));
        free(a);
        MUST(is_binned(a), "free goes to the unsorted bin at once");
        free(b);
        MUST(is_binned(a) && chunk_size(a) == 2 * chunk_for(1000), "merged at once");
        byte *p = get(500);
        MUST(p == a && is_binned(next_chunk(a)), "split at once");
        MUST(chunk_size(next_chunk(a)) == 2 * chunk_for(1000) - chunk_for(500));
    } else {
        free(a);
        free(b);
        MUST(!is_binned(a) && !is_binned(b), "the cache keeps it");
        MUST(chunk_size(a) == chunk_for(1000) && chunk_size(b) == chunk_for(1000));
    }
    walk(0);
    must_be_sound();
    return 0;
}
