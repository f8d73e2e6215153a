/* What must go well in secure mode: `sound WHAT`. */
#include "../contract/hg.h"
#include <sys/wait.h>

static int is_all(const byte *p, byte value, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != value) return 0;
    return 1;
}

/* Whatever was in it before, memory comes as zero. */
static void zero(void) {
    static const size_t sizes[] = {1, 24, 40, 100, 1000, 1017, 3000, 20000, 70000, 130000, 200000};
    for (int round = 0; round < 3000; round++) {
        size_t n = sizes[next_random() % (sizeof sizes / sizeof *sizes)];
        byte *p = round % 3 ? get(n) : aligned_alloc(64, n);
        MUST(is_all(p, 0, n), "%zu bytes in round %d", n, round);
        memset(p, 0xa5, n);
        size_t more = n + next_random() % 3000;
        p = realloc(p, more);
        MUST(is_all(p, 0xa5, n) && is_all(p + n, 0, more - n), "%zu to %zu", n, more);
        free(p);
    }
}

static void usable(void) {
    for (size_t n = 0; n < 3000; n++) {
        void *p = get(n), *q = calloc(1, n), *r = aligned_alloc(256, n);
        MUST(malloc_usable_size(p) == n && malloc_usable_size(q) == n && malloc_usable_size(r) == n, "%zu", n);
        p = realloc(p, n + 1);
        MUST(malloc_usable_size(p) == n + 1, "%zu", n);
        free(p), free(q), free(r);
    }
}

/* Four threads hand everything on through one table. */
enum { SLOTS = 4096, ROUNDS = 60000 };
static void *slots[SLOTS];

static void *hand(void *seed) {
    uint64_t state = (uintptr_t)seed * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < ROUNDS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t n = (state >> 33) % (i % 64 ? 600 : 100000);
        byte *p = get(n);
        memset(p, 0x11, n);
        byte *old = __atomic_exchange_n(&slots[(state >> 20) % SLOTS], p, __ATOMIC_ACQ_REL);
        if (old) MUST(is_all(old, 0x11, malloc_usable_size(old)), "%p", old);
        free(old);
    }
    return NULL;
}

static void threads(void) {
    for (int round = 0; round < 3; round++) {
        pthread_t t[4];
        for (uintptr_t i = 0; i < 4; i++) MUST(!pthread_create(&t[i], NULL, hand, (void *)(i + 4 * round)), "thread");
        for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
        must_be_sound();
    }
}

/* A child has its parent's chunks, of all its threads, and goes on. */
static void forks(void) {
    threads();
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        if (!child) {
            for (int i = 0; i < SLOTS; i++) {
                free(slots[i]);
                memset(slots[i] = get(i), 0x11, i);
            }
            hand((void *)7);
            must_be_sound();
            _exit(0);
        }
        hand((void *)8);
        int status;
        MUST(waitpid(child, &status, 0) == child && status == 0, "status %#x", status);
    }
}

static void *churn(void *unused) {
    for (int i = 0; i < 20000; i++) {
        byte *p = get(20000);
        p[19999] = 1;
        free(p);
    }
    return unused;
}

/* What waits is bounded over all threads, whatever they free. */
static void bound(void) {
    pthread_t t[4];
    for (int i = 0; i < 4; i++) MUST(!pthread_create(&t[i], NULL, churn, NULL), "thread");
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    churn(NULL);
    say("system %zu", mallinfo2().arena);
    MUST(malloc_trim(0) >= 0, "trim");
    must_be_sound();
    say("trimmed %zu", mallinfo2().arena);
}

/* Mapped chunks grow and shrink with their guards. */
static void mapped(void) {
    size_t n = 200000;
    byte *p = get(n);
    memset(p, 1, n);
    for (int i = 0; i < 300; i++) {
        size_t more = 140000 + next_random() % 3000000, kept = more < n ? more : n;
        p = realloc(p, more);
        MUST(p && is_all(p, 1, kept) && is_all(p + kept, 0, more - kept), "%zu to %zu", n, more);
        memset(p, 1, n = more);
    }
    free(p);
    int before = mappings();
    for (int i = 0; i < 5000; i++) free(get(150000 + i * 16));
    MUST(mappings() < before + 100, "%d mappings, %d before", mappings(), before);
    must_be_sound();
}

int main(int argc, char **argv) {
    MUST(argc == 2, "WHAT");
    const char *what = argv[1];
    if (!strcmp(what, "zero")) zero();
    if (!strcmp(what, "usable")) usable();
    if (!strcmp(what, "threads")) threads();
    if (!strcmp(what, "forks")) forks();
    if (!strcmp(what, "bound")) bound();
    if (!strcmp(what, "mapped")) mapped();
    must_be_sound();
    say("done");
}
