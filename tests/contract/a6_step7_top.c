/* A6 (7): with every bin empty, or holding only what is too small, the top is cut, without a call to the kernel. */
#include "hg.h"

int main(void) {
    byte *a = get(1000), *small = get(300), *sep = get(32);
    free(small);
    struct walked before = walk(0);
    mark("top");
    byte *b = malloc(1000);
    byte *c = malloc(500);
    mark("done");
    MUST(b == before.top, "%p, top was %p", b, before.top);
    MUST(c == next_chunk(b));
    struct walked after = walk(0);
    MUST(after.top == next_chunk(c));
    MUST(after.top_size == before.top_size - chunk_for(1000) - chunk_for(500));
    (void)a, (void)sep;
    must_be_sound();
    return 0;
}
