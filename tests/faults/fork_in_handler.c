/* A timer's signal handler forks while main is somewhere in malloc or free. The child leaves the handler, so it goes on in
 * the very call that was interrupted, allocates for a while and ends. The argument is the number of other threads. */
#include "../contract/hg.h"
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t forked, in_child, failed;
static int over;

static void tick(int signal) {
    int kept = errno;
    pid_t child = fork();
    if (child == 0) {
        struct itimerval none = {0};
        setitimer(ITIMER_REAL, &none, NULL);
        struct sigaction ends = {.sa_handler = SIG_DFL};
        sigaction(SIGALRM, &ends, NULL);
        alarm(60);
        in_child = 1;
    } else if (child > 0) {
        forked++;
    } else {
        failed++;
    }
    errno = kept;
}

static void churn(int rounds) {
    static byte *p[64];
    for (int i = 0; i < rounds; i++) {
        uint64_t r = next_random();
        int s = r % 64;
        free(p[s]);
        size_t n = 1 + (r >> 20) % (r % 9 ? 400 : 100000);
        p[s] = get(n);
        p[s][0] = p[s][n - 1] = s;
    }
}

static void *other(void *unused) {
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        byte *p[20];
        for (int i = 0; i < 20; i++) p[i] = get(10 + 300 * i);
        for (int i = 0; i < 20; i++) free(p[i]);
    }
    return unused;
}

static void reap(int flags) {
    int status;
    pid_t child;
    while ((child = waitpid(-1, &status, flags)) > 0) MUST(status == 0, "a child ended with %#x", status);
}

int main(int argc, char **argv) {
    int others = atoi(argv[1]), wanted = atoi(argv[2]);
    pthread_t t[4];
    sigset_t alarm_only;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL);
    for (int i = 0; i < others; i++) MUST(pthread_create(&t[i], NULL, other, NULL) == 0);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 700}, {0, 700}};
    setitimer(ITIMER_REAL, &often, NULL);
    while (forked < wanted) {
        churn(50);
        if (in_child) {
            churn(500);
            must_be_sound();
            _exit(0);
        }
        reap(WNOHANG);
    }
    struct itimerval none = {0};
    setitimer(ITIMER_REAL, &none, NULL);
    if (in_child) _exit(0);
    reap(0);
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < others; i++) pthread_join(t[i], NULL);
    must_be_sound();
    return 0;
}
