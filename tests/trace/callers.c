/* A call with callers that are known. */
#include <stdlib.h>

__attribute__((noinline)) static void *inner(void) {
    void *made = malloc(4321);
    __asm__ volatile("" : : "r"(made) : "memory");
    return made;
}

__attribute__((noinline)) static void outer(void) {
    void *made = inner();
    __asm__ volatile("" : : "r"(made) : "memory");
    free(made);
}

int main(void) {
    outer();
    return 0;
}
