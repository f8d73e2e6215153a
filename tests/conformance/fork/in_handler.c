/* fork in a signal handler that interrupts malloc: the child ends at once, or returns from the handler into the interrupted
 * call, finishes it and goes on allocating. With the argument `threads`, other threads allocate meanwhile; the C library's
 * own allocator promises the fork only for a process of one thread. */
#include "../expect.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

enum { SIGNALS = 400 };
static volatile sig_atomic_t handled, go_on_in_child;
static volatile int stop;

/* Children are waited for in the handler: no second signal can come meanwhile, and no list of them is needed. */
static void handler(int number) {
    (void)number;
    int kept = errno;
    int goes_on = handled % 2;
    pid_t child = fork();
    if (child < 0) _exit(4);
    if (child == 0) {
        alarm(120);
        if (!goes_on) _exit(0);
        go_on_in_child = 1;
    } else {
        int status;
        while (waitpid(child, &status, 0) < 0)
            if (errno != EINTR) _exit(5);
        if (status) {
            say("child %d: status %x\n", (int)handled, status);
            _exit(6);
        }
        handled++;
    }
    errno = kept;
}

static void use(uint64_t *random) {
    static __thread char *slot[64];
    for (int i = 0; i < 64; i++) {
        int s = next_random(random) % 64;
        free(slot[s]);
        size_t n = 1 + next_random(random) % ((size_t)32 << (next_random(random) % 14));
        slot[s] = malloc(n);
        NEED(slot[s], "malloc(%zu)", n);
        slot[s][0] = slot[s][n - 1] = 1;
    }
}

static void *busy(void *number) {
    uint64_t random = (uintptr_t)number + 77;
    while (!stop) use(&random);
    return NULL;
}

int main(int count, char **args) {
    (void)args;
    pthread_t thread[3];
    int threads = count > 1 ? 3 : 0;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);

    /* The busy ones never take the signal. */
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    for (uintptr_t i = 0; i < (uintptr_t)threads; i++)
        NEED(pthread_create(&thread[i], NULL, busy, (void *)i) == 0, "pthread_create");

    /* Another process sends, so that this one may have a single thread. */
    pid_t target = getpid(), sender = fork();
    NEED(sender >= 0, "fork");
    if (sender == 0) {
        while (kill(target, SIGUSR1) == 0) {
            struct timespec pause = {0, 200000};
            nanosleep(&pause, NULL);
            if (getppid() != target) break;
        }
        _exit(0);
    }
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);

    uint64_t random = 5;
    while (handled < SIGNALS && !go_on_in_child) use(&random);
    if (go_on_in_child) {
        pthread_sigmask(SIG_BLOCK, &usr1, NULL);
        for (int i = 0; i < 50; i++) use(&random);
        _exit(finish());
    }
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    kill(sender, SIGKILL);
    waitpid(sender, NULL, 0);
    stop = 1;
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    return finish();
}
