/* A library to preload, whose malloc never comes back in the compiler proper, which the compiler's driver starts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);

void *malloc(size_t size) {
    while (program_invocation_short_name && strcmp(program_invocation_short_name, "cc1") == 0)
        pause();
    return __libc_malloc(size);
}
