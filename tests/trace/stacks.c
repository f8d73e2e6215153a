/* The same size from one function by two callers, of which one's chunks stay as often as the argument says; and a place whose chunks all go
 * again. */
#include <stdlib.h>

__attribute__((noinline)) static void *table(void) {
    void *made = malloc(1000);
    __asm__ volatile("" : : "r"(made) : "memory");
    return made;
}

__attribute__((noinline)) static void *first(void) {
    void *made = table();
    __asm__ volatile("" : : "r"(made) : "memory");
    return made;
}

__attribute__((noinline)) static void *second(void) {
    void *made = table();
    __asm__ volatile("" : : "r"(made) : "memory");
    return made;
}

__attribute__((noinline)) static void gone(void) {
    void *made = malloc(1000);
    __asm__ volatile("" : : "r"(made) : "memory");
    free(made);
}

int main(int count, char **words) {
    int rounds = count > 1 ? atoi(words[1]) : 7;
    for (int i = 0; i < 3; i++) first();
    for (int i = 0; i < rounds; i++) second();
    for (int i = 0; i < 5; i++) gone();
    return 0;
}
