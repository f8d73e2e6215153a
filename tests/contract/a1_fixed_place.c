/* A1, in a program that isn't position-independent and uses malloc's address: there that address is a stub of the program's own, as
 * in Debian's python3. The linker has decided about weak names there, so the loader is asked whether we are on Heapglass. */
#include "hg.h"
#include <dlfcn.h>

int main(int argc, char **argv) {
    if (argc > 1) MUST(dlsym(RTLD_DEFAULT, argv[1]), "not on heapglass");
    /* Used in code, not in data: that is what takes a stub. */
    void *(*volatile function)(size_t) = malloc;
    byte *a = function(32), *b = malloc(200000);
    MUST(in_break(a), "%p", a);
    MUST(!in_break(b), "%p", b);
    free(a);
    free(b);
    must_be_sound();
    return 0;
}
