/* A2: ten malloc(64) move the break once at most; frees and repeats don't call the kernel at all. */
#include "hg.h"

int main(void) {
    void *p[10];
    mark("malloc");
    for (int i = 0; i < 10; i++) p[i] = malloc(64);
    mark("free");
    for (int i = 0; i < 10; i++) free(p[i]);
    mark("again");
    for (int i = 0; i < 10; i++) p[i] = malloc(64);
    for (int i = 9; i >= 0; i--) free(p[i]);
    for (int i = 0; i < 10; i++) free(malloc(500));
    mark("done");
    for (int i = 0; i < 10; i++) MUST(p[i] != NULL);
    must_be_sound();
    return 0;
}
