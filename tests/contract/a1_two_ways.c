/* A1: small requests from the break, 256 KiB from a mapping of its own. Prints what strace's log is compared with. */
#include "hg.h"

int main(void) {
    mark("small");
    byte *a = malloc(32);
    byte *b = malloc(128);
    mark("large");
    byte *c = malloc(262144);
    mark("use");
    MUST(a && b && c);
    MUST(b - a == 48, "%td", b - a);
    MUST(in_break(a) && in_break(b), "%p %p", a, b);
    MUST(!in_break(c), "%p", c);
    MUST(chunk_flags(c) & M);
    MUST(!(chunk_flags(a) & (M | A)) && !(chunk_flags(b) & (M | A)));
    memset(c, 1, 262144);
    say("large %p", c);
    mark("free");
    free(c);
    mark("done");
    must_be_sound();
    return 0;
}
