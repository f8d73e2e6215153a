/* A library that leaks, and is closed before the program ends. */
#include <stdlib.h>

static void *held_here;

void leak_in_library(void) {
    held_here = malloc(7777); /* the variable goes with the library */
}
