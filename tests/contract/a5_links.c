/* A5: in classic mode a freed chunk holds its links and its footer where the user's data was. */
#include "hg.h"

static int names(const void *holder, const void *other) {
    const uintptr_t *w = holder;
    uintptr_t p = (uintptr_t)other;
    return w[0] == p || w[1] == p || w[0] == p - 16 || w[1] == p - 16;
}

int main(int argc, char **argv) {
    byte *a = get(1000), *s1 = get(32), *b = get(1000), *s2 = get(32);
    memset(a, 0, 1000);
    memset(b, 0, 1000);
    size_t size = chunk_size(a);
    MUST(!is_binned(a) && !is_binned(b));
    free(a);
    free(b);
    MUST(is_binned(a) && is_binned(b));
    MUST(chunk_size(a) == size && chunk_size(b) == size);
    MUST(prev_size(next_chunk(a)) == size && prev_size(next_chunk(b)) == size);
    MUST(names(a, b) && names(b, a), "the two in one list don't name each other");
    MUST(next_chunk(a) == s1 && next_chunk(b) == s2);
    walk(0);
    must_be_sound();
    if (argc > 1) {
        /* Which word is spoilt: 0 forward, 1 backward. Whoever takes a chunk of the list must notice. */
        static uintptr_t trap[8];
        uintptr_t with = argc > 2 ? 0x4141414141414141u : (uintptr_t)trap;
        ((uintptr_t *)a)[atoi(argv[1])] = with;
        say("address %p %p %p %p", a, b, a - 16, b - 16);
        malloc(1000);
        malloc(1000);
        say("survived");
    }
    return 0;
}
