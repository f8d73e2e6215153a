/* A13: a program that had 1 GiB and keeps 10 MiB, with a little traffic, gets small again.
 * Arguments: the sizes (`small`, `middle`, `large`, `mixed`), who has the peak (`main`, `ended`, `asleep`, `freed`: by main for
 * a thread that sleeps), and what is expected: `decays`, `stays`, or `at_once`.
 *
 * Time is counted in steps of traffic with a millisecond's sleep each, so a slow machine gives itself longer. */
#include "../contract/hg.h"
#include <time.h>

#define MIB (1ul << 20)
enum { THREADS = 4, STEPS = 3000, LIVE = 20000 };

static const char *sizes;
static pthread_barrier_t full, freed;
static byte *live[LIVE];

static size_t size_now(void) {
    uint64_t r = next_random();
    const char *kind = strcmp(sizes, "mixed") ? sizes : r % 64 == 0 ? "large" : r % 8 == 0 ? "middle" : "small";
    r >>= 16;
    return kind[0] == 's' ? 16 + r % 2000 : kind[0] == 'm' ? 1000 + r % 63000 : 65000 + r % 900000;
}

struct peak {
    byte **chunks;
    size_t count, bytes;
    int frees, sleeps;
};

/* The table is a mapping of our own. Every page of every chunk is touched. */
static void fill(struct peak *p) {
    size_t table = p->bytes / 16 * sizeof(byte *), have = 0;
    p->chunks = mmap(NULL, table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(p->chunks != MAP_FAILED);
    for (p->count = 0; have < p->bytes; p->count++) {
        size_t n = size_now();
        memset(p->chunks[p->count] = get(n), 1, n);
        have += n;
    }
}

/* In no order, and gone with the table. */
static void empty(struct peak *p) {
    for (size_t i = p->count - 1; i > 0; i--) {
        size_t j = next_random() % (i + 1);
        byte *swap = p->chunks[i];
        p->chunks[i] = p->chunks[j], p->chunks[j] = swap;
    }
    for (size_t i = 0; i < p->count; i++) free(p->chunks[i]);
    munmap(p->chunks, p->bytes / 16 * sizeof(byte *));
}

static void *life(void *arg) {
    struct peak *p = arg;
    fill(p);
    pthread_barrier_wait(&full);
    pthread_barrier_wait(&full); /* It was looked at. */
    if (p->frees) empty(p);
    pthread_barrier_wait(&freed);
    while (p->sleeps) pause();
    return NULL;
}

static void replace_one(void) {
    int i = next_random() % LIVE;
    free(live[i]);
    size_t n = 16 + next_random() % 1000;
    memset(live[i] = get(n), 2, n);
}

/* Steps of traffic until so little is resident, or all of them. */
static size_t traffic(size_t enough) {
    size_t now = resident();
    for (int step = 0; step < STEPS && now > enough; step++) {
        for (int i = 0; i < 10; i++) replace_one();
        struct timespec ms = {0, 1000000};
        nanosleep(&ms, NULL);
        if (step % 50 == 49) now = resident();
    }
    return now;
}

static void *trim(void *unused) {
    MUST(malloc_trim(0) == 1);
    return unused;
}

int main(int argc, char **argv) {
    MUST(argc == 4);
    sizes = argv[1];
    const char *who = argv[2], *what = argv[3];
    int threads = strcmp(who, "main") ? THREADS : 0, count = threads ? threads : 1;
    static struct peak peaks[THREADS];
    pthread_barrier_init(&full, NULL, threads + 1);
    pthread_barrier_init(&freed, NULL, threads + 1);
    for (int i = 0; i < LIVE; i++) memset(live[i] = get(512), 2, 512);
    for (int i = 0; i < count; i++) {
        peaks[i] = (struct peak){.bytes = 1024 * MIB / count, .frees = strcmp(who, "freed"), .sleeps = strcmp(who, "ended")};
        pthread_t t;
        if (threads) MUST(pthread_create(&t, NULL, life, &peaks[i]) == 0);
        if (threads) pthread_detach(t);
        if (!threads) fill(&peaks[i]);
    }
    pthread_barrier_wait(&full);
    MUST(resident() > 900 * MIB, "%zu", resident());
    pthread_barrier_wait(&full);
    if (!threads) empty(&peaks[0]);
    for (int i = 0; i < threads && !strcmp(who, "freed"); i++) empty(&peaks[i]);
    pthread_barrier_wait(&freed);

    if (!strcmp(what, "stays")) {
        traffic(0);
        MUST(resident() > 100 * MIB, "%zu bytes are left without a decay", resident());
        in_thread(trim, NULL);
        MUST(resident() < 40 * MIB, "%zu bytes are left by malloc_trim", resident());
    } else if (!strcmp(what, "at_once")) {
        MUST(resident() < 40 * MIB, "%zu bytes are left", resident());
    } else {
        size_t now = traffic(40 * MIB);
        MUST(now < 40 * MIB, "%zu bytes are left", now);
    }
    must_be_sound();
    for (int i = 0; i < LIVE; i++) free(live[i]);
    must_be_sound();
    say("ok");
    return 0;
}
