/* posix_spawn, system and vfork while other threads allocate. */
#include "../expect.h"
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

static volatile int stop;
extern char **environ;

static void *busy(void *number) {
    uint64_t random = (uintptr_t)number + 3;
    while (!stop) {
        char *p = malloc(next_random(&random) % 3000), *q = calloc(1, next_random(&random) % 200000);
        NEED(p && q, "malloc");
        free(p);
        free(q);
    }
    return NULL;
}

int main(void) {
    pthread_t thread[3];
    for (uintptr_t i = 0; i < 3; i++) NEED(pthread_create(&thread[i], NULL, busy, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < 30; i++) {
        pid_t child;
        int status;
        char *words[] = {(char *)"sh", (char *)"-c", (char *)"exit 7", NULL};
        NEED(posix_spawnp(&child, "sh", NULL, NULL, words, environ) == 0, "posix_spawnp");
        NEED(waitpid(child, &status, 0) == child, "waitpid");
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 7, "posix_spawn: status %x", status);
        status = system("exit 5");
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 5, "system: status %x", status);
        child = vfork();
        if (child == 0) _exit(3);
        NEED(child > 0 && waitpid(child, &status, 0) == child, "vfork");
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 3, "vfork: status %x", status);
    }
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    return finish();
}
