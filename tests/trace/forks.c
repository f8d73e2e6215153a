/* A child that goes on without exec, and allocates 4242 bytes; the parent allocates 2424. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    free(malloc(2424));
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 1000; i++) free(malloc(4242));
        _exit(7);
    }
    int status = 0;
    waitpid(child, &status, 0);
    free(malloc(2424));
    printf("child %d\n", WEXITSTATUS(status));
    return 0;
}
