/* Everything at once, for so many seconds: threads that begin, hand their chunks on and end; forks from a thread, and from a
 * signal handler on top of whatever a thread is doing; children that allocate, start threads, fork again and prove their heap;
 * trims, figures and the checker beside it all; and streams whose writing allocates. A child that hangs is ended by its own
 * alarm; a parent that hangs, by whoever started it. */
#include "../contract/hg.h"
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

enum { WORKERS = 4, SHARED = 512, OWN = 48, CHILDREN_MAX = 6 };
static byte *shared[SHARED];
static int over, children;
/* Handlers that are forking now, and whether they may. */
static int forking, alone;
static long forks, forks_in_handler, threads, checks;
static __thread volatile sig_atomic_t in_child;

static uint64_t step(uint64_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static size_t some_size(uint64_t r) {
    switch (r % 64) {
    case 0: return 1 + (r >> 8) % 1500000;
    case 1 ... 4: return 1 + (r >> 8) % 100000;
    case 5 ... 12: return 1 + (r >> 8) % 8000;
    default: return 1 + (r >> 8) % 600;
    }
}

struct block {
    byte *p;
    size_t n;
};

static void fill(struct block *b, byte *p, size_t n, int mark) {
    MUST(p, "%zu bytes", n);
    *b = (struct block){p, n};
    p[0] = p[n / 2] = p[n - 1] = mark;
}

static void whole(struct block *b, int mark) {
    MUST(b->p[0] == mark && b->p[b->n / 2] == mark && b->p[b->n - 1] == mark, "a block of %zu bytes changed", b->n);
}

/* Leaves nothing behind. Returns early in a child that a handler has made. */
static void churn(uint64_t seed, int rounds) {
    struct block own[OWN] = {{0}};
    seed = seed * 2654435761u + 88172645463325252u;
    for (int i = 0; i < rounds && !in_child; i++) {
        uint64_t r = step(&seed);
        int s = (r >> 32) % OWN, mark = 1 + s;
        size_t n = some_size(r);
        if (own[s].p) whole(&own[s], mark);
        switch (r >> 60) {
        case 0 ... 2:
            if (own[s].p) {
                fill(&own[s], realloc(own[s].p, n), n, mark);
                break;
            } /* fall through */
        case 3:
            free(own[s].p);
            fill(&own[s], memalign(16 << (r >> 50 & 7), n), n, mark);
            break;
        case 4:
            free(own[s].p);
            fill(&own[s], calloc(1, n), n, mark);
            break;
        case 5 ... 8: {
            /* A chunk for somebody else, and one from somebody. */
            byte *mine = get(n % 5000 + 1);
            mine[0] = 77;
            byte *theirs = __atomic_exchange_n(&shared[(r >> 40) % SHARED], mine, __ATOMIC_ACQ_REL);
            MUST(!theirs || theirs[0] == 77);
            free(theirs);
            break;
        }
        default:
            free(own[s].p);
            fill(&own[s], malloc(n), n, mark);
        }
    }
    for (int s = 0; s < OWN; s++) {
        if (own[s].p) whole(&own[s], 1 + s);
        free(own[s].p);
    }
}

static void *brief(void *seed) {
    churn((uintptr_t)seed, 200);
    return NULL;
}

static void child(uint64_t seed) {
    in_child = 0;
    alarm(120);
    churn(seed, 150);
    for (int s = seed % 7; s < SHARED; s += 7) free(__atomic_exchange_n(&shared[s], NULL, __ATOMIC_ACQ_REL));
    if (seed % 5 == 0) {
        pthread_t t[2];
        for (int i = 0; i < 2; i++) MUST(pthread_create(&t[i], NULL, brief, (void *)(seed + i)) == 0);
        for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
        malloc_trim(0);
    }
    if (seed % 11 == 0) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) {
            alarm(120);
            churn(seed + 1, 50);
            must_be_sound();
            _exit(0);
        }
        int status;
        MUST(waitpid(pid, &status, 0) == pid && status == 0, "a grandchild ended with %#x", status);
    }
    must_be_sound();
    _exit(0);
}

static int one_more_child(void) {
    if (__atomic_add_fetch(&children, 1, __ATOMIC_RELAXED) <= CHILDREN_MAX) return 1;
    __atomic_sub_fetch(&children, 1, __ATOMIC_RELAXED);
    return 0;
}

static void tick(int signal) {
    int kept = errno;
    __atomic_add_fetch(&forking, 1, __ATOMIC_SEQ_CST);
    int may = !__atomic_load_n(&alone, __ATOMIC_SEQ_CST) && !__atomic_load_n(&over, __ATOMIC_RELAXED);
    if (!in_child && may && one_more_child()) {
        pid_t pid = fork();
        if (pid == 0) {
            in_child = 1;
        } else {
            MUST(pid > 0, "errno %d", errno);
            __atomic_add_fetch(&forks_in_handler, 1, __ATOMIC_RELAXED);
        }
    }
    __atomic_sub_fetch(&forking, 1, __ATOMIC_SEQ_CST);
    errno = kept;
}

static void take_ticks(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(how, &set, NULL);
}

/* Takes the signals, in the middle of whatever it does. Ends soon, and another takes its place. */
static void *worker(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    take_ticks(SIG_UNBLOCK);
    for (int i = 0; i < 20 && !__atomic_load_n(&over, __ATOMIC_RELAXED); i++) {
        churn(seed + i, 300);
        if (in_child) {
            struct sigaction ends = {.sa_handler = SIG_DFL};
            sigaction(SIGALRM, &ends, NULL);
            child(seed + i);
        }
    }
    take_ticks(SIG_BLOCK);
    if (in_child) child(seed);
    return NULL;
}

static void *keeper(void *arg) {
    for (uintptr_t seed = (uintptr_t)arg; !__atomic_load_n(&over, __ATOMIC_RELAXED); seed += 1000003) {
        pthread_t t;
        MUST(pthread_create(&t, NULL, worker, (void *)seed) == 0);
        pthread_join(t, NULL);
        __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void nap(long milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void *forker(void *arg) {
    for (uint64_t i = 1; !__atomic_load_n(&over, __ATOMIC_RELAXED); i++) {
        byte *kept = get(300 + i % 9000);
        if (one_more_child()) {
            pid_t pid = fork();
            MUST(pid >= 0, "errno %d", errno);
            if (pid == 0) {
                struct sigaction ends = {.sa_handler = SIG_DFL};
                sigaction(SIGALRM, &ends, NULL);
                take_ticks(SIG_UNBLOCK);
                free(kept);
                child(i);
            }
            forks++;
        } else {
            nap(2);
        }
        free(kept);
        churn(i, 20);
    }
    return NULL;
}

static void *reaper(void *arg) {
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            MUST(status == 0, "child %d ended with %#x", pid, status);
            __atomic_sub_fetch(&children, 1, __ATOMIC_RELAXED);
        } else {
            if (pid < 0 && __atomic_load_n(&over, __ATOMIC_RELAXED) == 2) return NULL;
            nap(1);
        }
    }
}

static ssize_t write_all(void *cookie, const char *text, size_t n) {
    churn((uintptr_t)cookie, 30);
    return n;
}

static void *overseer(void *arg) {
    for (long i = 0; !__atomic_load_n(&over, __ATOMIC_RELAXED); i++) {
        nap(20);
        if (i % 3 == 0) malloc_trim(i % 2 ? 0 : 100000);
        if (i % 3 == 1) mallinfo2();
        if (i % 10 == 0) {
            must_be_sound();
            checks++;
        }
        if (i % 50 == 7) {
            FILE *stream = fopencookie((void *)i, "w", (cookie_io_functions_t){.write = write_all});
            MUST(stream);
            fputc('x', stream);
            /* Whoever writes with the list of streams locked, and waits for a lock of malloc's, stops for ever if its owner's
             * handler forks now, whichever malloc it is: the fork waits for the list. */
            __atomic_store_n(&alone, 1, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&forking, __ATOMIC_SEQ_CST)) nap(1);
            fflush(NULL);
            fclose(stream);
            __atomic_store_n(&alone, 0, __ATOMIC_SEQ_CST);
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    time_t end = time(NULL) + atoi(argv[1]);
    take_ticks(SIG_BLOCK);
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    pthread_t keepers[WORKERS], f, o, r;
    for (uintptr_t i = 0; i < WORKERS; i++) MUST(pthread_create(&keepers[i], NULL, keeper, (void *)(i * 77 + 1)) == 0);
    MUST(pthread_create(&f, NULL, forker, NULL) == 0);
    MUST(pthread_create(&o, NULL, overseer, NULL) == 0);
    MUST(pthread_create(&r, NULL, reaper, NULL) == 0);
    struct itimerval often = {{0, 3000}, {0, 3000}};
    setitimer(ITIMER_REAL, &often, NULL);
    while (time(NULL) < end) nap(50);
    struct itimerval none = {{0}};
    setitimer(ITIMER_REAL, &none, NULL);
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < WORKERS; i++) pthread_join(keepers[i], NULL);
    pthread_join(f, NULL);
    pthread_join(o, NULL);
    __atomic_store_n(&over, 2, __ATOMIC_RELAXED);
    pthread_join(r, NULL);
    for (int s = 0; s < SHARED; s++) free(shared[s]);
    must_be_sound();
    say("%ld threads, %ld forks, %ld forks in handlers, %ld checks", threads, forks, forks_in_handler, checks);
    return 0;
}
