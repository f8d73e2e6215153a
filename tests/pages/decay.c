/* A13, what each program is for says its name: `at_once`, `decays`, `sized`, `stays`, `trim`, `remote`, `kept`, `twice`, `thp`. */
#include "../contract/hg.h"
#include <time.h>

#define MIB (1ul << 20)
enum { COUNT = 300, LENGTH = 100000 };
static byte *p[COUNT];

static void fill(void) {
    for (int i = 0; i < COUNT; i++) memset(p[i] = get(LENGTH), 1, LENGTH);
}

/* All but the last, so that what is free isn't the top; 30 MB. */
static void empty(void) {
    for (int i = 0; i < COUNT - 1; i++) free(p[i]);
}

static void *trim(void *unused) {
    MUST(malloc_trim(0) == 1);
    return unused;
}

/* By `free_sized`, whose chunks are small. */
static int sized;
__attribute__((weak)) void free_sized(void *, size_t);

static void steps(int count) {
    for (int i = 0; i < count; i++) {
        if (sized) free_sized(get(400), 400);
        else free(get(40000));
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static void decays(int at_once) {
    fill();
    size_t before = resident();
    empty();
    if (at_once) {
        MUST(resident() + 25 * MIB < before, "%zu after %zu", resident(), before);
    } else {
        MUST(resident() + 5 * MIB > before, "too early: %zu after %zu", resident(), before);
        for (int i = 0; i < 30 && resident() + 25 * MIB > before; i++) steps(100);
        MUST(resident() + 25 * MIB < before, "%zu after %zu", resident(), before);
    }
    must_be_sound();
    /* Half released, cut, merged again: what calloc gives is zero, and everything still holds. */
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < COUNT - 1; i++) {
            size_t n = 1 + next_random() % LENGTH;
            byte *z = p[i] = calloc(1, n);
            for (size_t k = 0; k < n; k++) MUST(z[k] == 0, "byte %zu of %zu", k, n);
            memset(z, 7, n);
            if (i % 3) free(z);
            if (i % 3) memset(p[i] = get(5000 + n), 9, 5000 + n);
            if (round < 2 || i % 2) free(p[i]);
        }
    must_be_sound();
}

static void stays(void) {
    fill();
    size_t before = resident();
    empty();
    steps(2500);
    MUST(resident() + 5 * MIB > before, "%zu after %zu", resident(), before);
    in_thread(trim, NULL);
    MUST(resident() + 25 * MIB < before, "%zu after %zu", resident(), before);
    malloc_trim(0); /* this thread's own cache */
    MUST(malloc_trim(0) == 0, "nothing is left to give");
    must_be_sound();
}

static pthread_barrier_t turn;
static void *volatile handed[1000];

static void *producer(void *rounds) {
    for (long i = 0; i < (long)rounds; i++) {
        for (int k = 0; k < 1000; k++) memset(handed[k] = get(16 + next_random() % 3000), 1, 16);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
    }
    return NULL;
}

/* Threads that only free what another allocated: 1.5 GB pass, a few are there at a time. */
static void remote(void) {
    enum { ROUNDS = 1000 };
    pthread_barrier_init(&turn, NULL, 2);
    pthread_t t;
    pthread_create(&t, NULL, producer, (void *)ROUNDS);
    size_t before = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&turn);
        for (int k = 0; k < 1000; k++) free(handed[k]);
        pthread_barrier_wait(&turn);
        if (i == 20) before = resident();
    }
    pthread_join(t, NULL);
    MUST(resident() < before + 16 * MIB, "%zu after %zu", resident(), before);
    must_be_sound();
}

/* Mappings that wait for the next request: not believed to be zero, found on a second free, gone after a while. */
static void kept(int twice) {
    mallopt(M_MMAP_THRESHOLD, 131072);
    byte *q = get(MIB);
    memset(q, 1, MIB);
    int here = mappings();
    free(q);
    if (twice) {
        say("address %p", q);
        free(q);
        return;
    }
    byte seen;
    MUST(mincore((void *)((uintptr_t)q & -4096ul), 4096, &seen) == 0, "the mapping is gone at once");
    byte *z = calloc(1, MIB - 5000);
    MUST(z == q, "%p after %p", z, q);
    for (size_t k = 0; k < MIB - 5000; k++) MUST(z[k] == 0, "byte %zu", k);
    free(z);
    /* A longer one keeps the bytes' places, and is zero for calloc as well. */
    z = calloc(1, 3 * MIB);
    for (size_t k = 0; k < 3 * MIB; k++) MUST(z[k] == 0, "byte %zu", k);
    memset(z, 1, 3 * MIB);
    must_be_sound();
    size_t before = resident();
    free(z);
    MUST(mallinfo2().hblks == 0 && mallinfo2().hblkhd == 0);
    for (int i = 0; i < 30 && resident() + 2 * MIB > before; i++) steps(100);
    MUST(resident() + 2 * MIB < before, "%zu after %zu", resident(), before);
    /* 200 MiB at a time: no more than 64 stay. */
    for (int i = 0; i < 20; i++) memset(p[i] = get(10 * MIB), 1, 10 * MIB);
    before = resident();
    for (int i = 0; i < 20; i++) free(p[i]);
    MUST(resident() + 130 * MIB < before, "%zu after %zu", resident(), before);
    malloc_trim(0);
    MUST(resident() + 195 * MIB < before, "%zu after %zu", resident(), before);
    must_be_sound();
}

/* The flags that the kernel has for the heap: hg where huge pages were asked for, nh where none are wanted. */
static void thp(const char *flag) {
    if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK)) {
        say("left out: the kernel has no huge pages");
        return;
    }
    fill();
    const char *at = strstr(slurp("/proc/self/smaps"), "[heap]");
    at = at ? strstr(at, "VmFlags:") : NULL;
    MUST(at, "no flags of the heap");
    char line[200] = {0};
    strncpy(line, at, strcspn(at, "\n") < 199 ? strcspn(at, "\n") : 199);
    int hg = strstr(line, " hg") != NULL, nh = strstr(line, " nh") != NULL;
    MUST(hg == !strcmp(flag, "hg") && nh == !strcmp(flag, "nh"), "%s", line);
    must_be_sound();
}

int main(int argc, char **argv) {
    const char *what = argv[1];
    sized = !strcmp(what, "sized");
    if (!strcmp(what, "at_once") || !strcmp(what, "decays") || sized) decays(what[0] == 'a');
    if (!strcmp(what, "stays")) stays();
    if (!strcmp(what, "remote")) remote();
    if (!strcmp(what, "kept") || !strcmp(what, "twice")) kept(what[0] == 't');
    if (!strcmp(what, "thp")) thp(argv[2]);
    return 0;
}
