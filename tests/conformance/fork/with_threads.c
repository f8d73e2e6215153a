/* fork while other threads allocate: every child can allocate, free what it inherited, and start threads of its own. */
#include "../expect.h"
#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>

enum { THREADS = 4, FORKERS = 3, FORKS = 100 };
static volatile int stop;
static char *inherited[100];

static void use(uint64_t seed) {
    char *p[60];
    for (int i = 0; i < 60; i++) {
        size_t n = 1 + next_random(&seed) % ((size_t)32 << (i % 14));
        p[i] = i % 3 ? malloc(n) : calloc(1, n);
        NEED(p[i], "malloc(%zu)", n);
        fill(p[i], i, 0, n < 500 ? n : 500);
        if (i % 5 == 0) {
            p[i] = realloc(p[i], n * 2);
            NEED(p[i], "realloc");
        }
    }
    for (int i = 0; i < 60; i++) free(p[i]);
}

static void *busy(void *number) {
    uint64_t seed = (uintptr_t)number + 5;
    while (!stop) {
        next_random(&seed);
        use(seed);
    }
    return NULL;
}

static void *in_child_thread(void *number) {
    use((uintptr_t)number + 99);
    return NULL;
}

static void child(int i) {
    /* A child that hangs is ended, and seen by its status. */
    alarm(120);
    for (int k = 0; k < 20; k++) use(i * 100 + k + 1);
    for (int k = 0; k < 100; k++) {
        EXPECT(intact(inherited[k], k, 100) == 100, "block %d changed in the child", k);
        inherited[k] = k % 2 ? realloc(inherited[k], 5000) : inherited[k];
        EXPECT(intact(inherited[k], k, 100) == 100, "block %d changed on realloc in the child", k);
        free(inherited[k]);
    }
    if (i % 4 == 0) {
        pthread_t thread[2];
        for (uintptr_t k = 0; k < 2; k++) NEED(pthread_create(&thread[k], NULL, in_child_thread, (void *)k) == 0, "pthread_create");
        for (int k = 0; k < 2; k++) pthread_join(thread[k], NULL);
        malloc_trim(0);
    }
    /* A child of the child. */
    if (i % 10 == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            use(7);
            _exit(finish());
        }
        int status;
        NEED(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "the grandchild's status is %x", status);
    }
    if (i % 2) exit(finish());
    _exit(finish());
}

static void *forker(void *number) {
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        NEED(pid >= 0, "fork: %s", strerror(errno));
        if (pid == 0) child(i + (int)(uintptr_t)number);
        use(i + 1);
        int status;
        NEED(waitpid(pid, &status, 0) == pid, "waitpid");
        EXPECT(status == 0, "fork %d: the child's status is %x", i, status);
    }
    return NULL;
}

int main(void) {
    for (int i = 0; i < 100; i++) {
        inherited[i] = malloc(100 + 20 * i);
        NEED(inherited[i], "malloc");
        fill(inherited[i], i, 0, 100);
    }
    pthread_t thread[THREADS], forking[FORKERS];
    for (uintptr_t i = 0; i < THREADS; i++) NEED(pthread_create(&thread[i], NULL, busy, (void *)i) == 0, "pthread_create");
    for (uintptr_t i = 0; i < FORKERS; i++) NEED(pthread_create(&forking[i], NULL, forker, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < FORKERS; i++) pthread_join(forking[i], NULL);
    stop = 1;
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    return finish();
}
