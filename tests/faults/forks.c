/* Ten thousand forks from four threads, while these and two more allocate all the time. The children allocate, free what
 * they inherited, and end. A child that hangs is ended by its own alarm, and the program fails. */
#include "../contract/hg.h"
#include <sys/wait.h>

enum { FORKERS = 4, SHARED = 256 };
static int each;
static byte *shared[SHARED];
static int over;

static void churn(uint64_t seed, int rounds) {
    byte *p[40] = {0};
    for (int i = 0; i < rounds; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int s = seed >> 33 & 31;
        free(p[s]);
        size_t n = 1 + (seed >> 40) % (seed >> 61 ? 300 : 150000);
        p[s] = get(n);
        p[s][0] = p[s][n - 1] = s;
        /* Chunks wander between threads too. */
        byte *mine = get(64), *old = __atomic_exchange_n(&shared[seed >> 50 & (SHARED - 1)], mine, __ATOMIC_ACQ_REL);
        free(old);
    }
    for (int s = 0; s < 40; s++) free(p[s]);
}

static void *churner(void *seed) {
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) churn((uintptr_t)seed, 100);
    return NULL;
}

static void *forker(void *seed) {
    for (int i = 0; i < each; i++) {
        byte *kept = get(500 + i % 5000);
        churn((uintptr_t)seed + i, 10);
        pid_t child = fork();
        MUST(child >= 0, "errno %d", errno);
        if (child == 0) {
            alarm(60);
            free(kept);
            churn(i, 30);
            for (int s = 0; s < SHARED; s += 16) free(__atomic_exchange_n(&shared[s], NULL, __ATOMIC_ACQ_REL));
            if (i % 50 == 0) must_be_sound();
            _exit(0);
        }
        churn((uintptr_t)seed + i, 5);
        int status;
        MUST(waitpid(child, &status, 0) == child);
        MUST(status == 0, "child %d of %p ended with %#x", i, seed, status);
        free(kept);
    }
    return NULL;
}

int main(int argc, char **argv) {
    each = atoi(argv[1]) / FORKERS;
    pthread_t t[FORKERS], c[2];
    for (uintptr_t i = 0; i < 2; i++) MUST(pthread_create(&c[i], NULL, churner, (void *)(i + 77)) == 0);
    for (uintptr_t i = 0; i < FORKERS; i++) MUST(pthread_create(&t[i], NULL, forker, (void *)(i * 1000 + 1)) == 0);
    for (int i = 0; i < FORKERS; i++) pthread_join(t[i], NULL);
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) pthread_join(c[i], NULL);
    must_be_sound();
    return 0;
}
