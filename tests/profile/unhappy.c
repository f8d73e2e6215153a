/* Programs that are hard to profile, one by each name; the test looks for the comments behind their lines. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 100
#define THREADS 1000

static void *volatile kept[COUNT];

__attribute__((noinline)) static void *far_down(void) {
    return malloc(500); /* far down */
}

/* Frames of 4 KiB each, many more than a sample brings along. */
__attribute__((noinline)) static void *deep(int depth) {
    volatile char room[4096];
    memset((char *)room, depth, sizeof room);
    void *made = depth > 0 ? deep(depth - 1) /* deeper */ : far_down();
    room[depth] = 1;
    return made;
}

/* One frame that is longer than all that a sample brings along. */
__attribute__((noinline)) static void *wide(void) {
    volatile char room[256 * 1024];
    memset((char *)room, 1, sizeof room);
    void *made = far_down(); /* wide */
    room[0] = 2;
    return made;
}

__attribute__((noinline)) static void *of_child(void) {
    return malloc(700); /* child */
}

static volatile int over;

__attribute__((noinline)) static void *beside(void) {
    return malloc(300); /* beside */
}

static void *busy(void *unused) {
    while (!over)
        free(beside());
    return unused;
}

/* Children are made while other threads are in the middle of samples. */
static void forks(void) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, busy, NULL);
    for (int i = 0; i < COUNT; i++) {
        pid_t child = fork();
        if (child == 0) {
            for (int j = 0; j < 10; j++)
                kept[j] = of_child();
            _exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status != 0)
            exit(2);
    }
    over = 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

__attribute__((noinline)) static void *for_signal(void) {
    return malloc(900); /* signal */
}

static void on_signal(int number) {
    (void)number;
    for (int i = 0; i < COUNT; i++)
        kept[i] = for_signal();
}

__attribute__((noinline)) static void raises(void) {
    raise(SIGUSR1); /* raises */
}

static void signals(int on_other) {
    static char room[64 * 1024];
    stack_t other = {.ss_sp = room, .ss_size = sizeof room};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = on_other ? SA_ONSTACK : 0};
    if (sigaltstack(&other, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0)
        exit(2);
    raises();
}

__attribute__((noinline)) static void *of_thread(void) {
    return malloc(1100); /* of a thread */
}

static pthread_barrier_t together;
static void *each[THREADS];

static void *thread(void *cell) {
    *(void **)cell = of_thread();
    pthread_barrier_wait(&together);
    return NULL;
}

/* All of them at the same time. */
static void threads(void) {
    static pthread_t all[THREADS];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&all[i], &small, thread, &each[i]) != 0)
            exit(2);
    for (int i = 0; i < THREADS; i++)
        pthread_join(all[i], NULL);
}

__attribute__((noinline)) static void *plain(void) {
    return malloc(100); /* plain */
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "deleted") == 0 && unlink(argv[0]) != 0)
        return 2;
    if (strcmp(what, "deep") == 0)
        kept[0] = deep(200);
    else if (strcmp(what, "wide") == 0)
        kept[0] = wide();
    else if (strcmp(what, "forks") == 0)
        forks();
    else if (strcmp(what, "signals") == 0)
        signals(argc == 2);
    else if (strcmp(what, "threads") == 0)
        threads();
    else if (strcmp(what, "serves") == 0) {
        puts("ready");
        fflush(stdout);
        char byte;
        fcntl(0, F_SETFL, O_NONBLOCK);
        for (int i = 0; read(0, &byte, 1) != 0; i++) {
            free(kept[i % COUNT]);
            kept[i % COUNT] = plain();
            if (i % COUNT == 0)
                usleep(1000);
        }
    } else
        for (int i = 0; i < COUNT; i++)
            kept[i] = plain();
    return 0;
}
