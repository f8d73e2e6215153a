/* A library to preload that changes what a program puts out, and nothing else. */
#include <unistd.h>

__attribute__((constructor)) static void print(void) {
    if (write(STDOUT_FILENO, "more\n", 5) < 0)
        _exit(1);
}
