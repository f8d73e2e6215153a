/* A7 (9): a top above the trim threshold shrinks the break; one below it stays. */
#include "hg.h"

int main(void) {
    get(32);
    void *small = get(60000);
    uintptr_t low = the_break();
    mark("below");
    free(small);
    mark("below done");
    MUST(the_break() == low);
    void *p[5];
    for (int i = 0; i < 5; i++) p[i] = get(100000);
    uintptr_t high = the_break();
    mark("above");
    for (int i = 4; i >= 0; i--) free(p[i]);
    mark("above done");
    MUST(the_break() < high && high - the_break() >= 200000, "%#lx %#lx", high, the_break());
    struct walked w = walk(0);
    MUST(w.top_size >= 131072 && w.top_size <= 131072 + 2 * 4096 + 131072, "the pad stays: %zu", w.top_size);
    must_be_sound();
    return 0;
}
