/* Faults by name, each at the end of calls whose names a report should tell: main, act, last. */
#include "../contract/hg.h"

static __attribute__((noinline)) void last(void *p) {
    free(p);
    __asm__ volatile("" ::: "memory"); /* no jump in the place of the call */
}

static __attribute__((noinline)) void act(const char *kind, byte *small, byte *next, byte *mapped) {
    if (!strcmp(kind, "double")) {
        last(next);
        last(next);
    } else if (!strcmp(kind, "overflow")) {
        memset(small, 'A', 60);
        last(next);
    } else if (!strcmp(kind, "inside")) {
        last(next + 16);
    } else if (!strcmp(kind, "mapped")) {
        last(mapped);
        last(mapped);
    }
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv) {
    byte *small = get(40), *next = get(100), *behind = get(70000), *mapped = get(10 << 20);
    say("address %p", next);
    fflush(stdout);
    act(argv[1], small, next, mapped);
    free(behind);
    if (argc > 2) {
        execlp("sh", "sh", "-c", "echo HEAPGLASS=$HEAPGLASS", NULL);
    }
    return 0;
}
