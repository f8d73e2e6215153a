/* Faults of guarded samples: `guards KIND [light|hard] [SIZE]`. With `hard` the kernel refuses its own guards, from the start of the
 * process on. The program finds out which pointers are samples by their usable size, which is exactly what was asked for. */
#include "../contract/hg.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

void free_sized(void *, size_t) __attribute__((weak));

enum { GUARD_INSTALL = 102, PAGE = 4096 };

static void refuse_guards(void) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GUARD_INSTALL, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "errno %d", errno);
}

static size_t rounded(size_t n) { return n < 16 ? 16 : (n + 15) & ~(size_t)15; }
static int is_sample(void *p, size_t n) { return malloc_usable_size(p) == n; }

enum { KEPT = 40 };
static byte *kept[KEPT];

/* A sample that stands at its slot's end, or at its start. Sizes are such that a heap's chunk would hold more. */
static byte *sample(size_t n, int at_end) {
    for (int i = 0; i < KEPT * 1000; i++) {
        byte *p = malloc(n);
        MUST(p);
        uintptr_t at = (uintptr_t)p;
        if (is_sample(p, n) && (at_end ? (at + rounded(n)) % PAGE == 0 && at % PAGE : at % PAGE == 0)) return p;
        free(kept[i % KEPT]);
        kept[i % KEPT] = p;
    }
    MUST(0, "no sample of %zu bytes", n);
    return NULL;
}

__attribute__((noinline)) static void freed_here(void *p) { free(p); }
__attribute__((noinline)) static byte *made_here(size_t n, int at_end) { return sample(n, at_end); }

static void *free_it(void *p) {
    free(p);
    /* What is parked is looked at two frees later. */
    free(malloc(40));
    free(malloc(40));
    free(malloc(40));
    return NULL;
}

static void about(const void *p) {
    say("address %p", p);
    mark("fault");
}

static void on_fault(int signal) {
    say("caught %d", signal);
    _exit(7);
}

static const char *mapping_of(void *p, size_t *length) {
    static char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    MUST(maps);
    uintptr_t from, to;
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from <= (uintptr_t)p && (uintptr_t)p < to) {
            *length = to - from;
            fclose(maps);
            return line;
        }
    }
    MUST(0, "not mapped");
    return NULL;
}

static volatile byte sink;

/* A million samples, some hundred alive at a time. */
static void many(void) {
    enum { SLOTS = 300 };
    static byte *p[SLOTS];
    static size_t n[SLOTS];
    uint64_t seed = 88172645463325252ull;
    for (int i = 0; i < 1000000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        int s = seed % SLOTS;
        if (p[s]) MUST(p[s][0] == (byte)s && p[s][n[s] - 1] == (byte)s);
        free(p[s]);
        n[s] = 1 + (seed >> 20) % (seed % 8 ? 200 : 9000);
        p[s] = malloc(n[s]);
        memset(p[s], s, n[s]);
    }
    FILE *maps = fopen("/proc/self/maps", "r");
    int lines = 0;
    for (int c; (c = fgetc(maps)) != EOF;) lines += c == '\n';
    fclose(maps);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    say("mappings %d", lines);
    say("kilobytes %ld", used.ru_maxrss);
    must_be_sound();
    for (int s = 0; s < SLOTS; s++) free(p[s]);
    must_be_sound();
}

/* The places of the samples among many allocations. */
static void places(void) {
    for (int i = 0; i < 20000; i++) {
        byte *p = malloc(100);
        if (is_sample(p, 100)) say("%d", i);
        free(p);
    }
}

static void calls(void) {
    for (size_t n = 0; n <= 20000; n = n < 40 ? n + 1 : n * 2) {
        byte *p = malloc(n), *q = calloc(1, n + 4), *r;
        for (size_t i = 0; i < n + 4; i++) MUST(q[i] == 0);
        memset(p, 1, n);
        memset(q, 2, n + 4);
        p = realloc(p, n + 20);
        for (size_t i = 0; i < n; i++) MUST(p[i] == 1);
        p = realloc(p, n / 2 + 1);
        for (size_t i = 0; i < n / 2; i++) MUST(p[i] == 1);
        for (size_t align = 16; align <= 65536; align *= 2) {
            MUST(posix_memalign((void **)&r, align, n) == 0 && (uintptr_t)r % align == 0);
            memset(r, 3, n);
            MUST(malloc_usable_size(r) >= n);
            free(r);
        }
        r = malloc(n);
        if (free_sized) free_sized(r, n);
        must_be_sound();
        free(p);
        free(q);
    }
    struct mallinfo2 before = mallinfo2();
    byte *p = sample(104 - 4, 1);
    struct mallinfo2 with = mallinfo2();
    for (int i = 0; i < KEPT; i++) free(kept[i]);
    MUST(with.hblks >= 1 && with.hblkhd >= PAGE && before.hblkhd <= with.hblkhd + PAGE * 64);
    free(p);
}

/* Traffic on the fast path, of sizes whose samples have hardly room for what a parked free writes. */
static void small(void) {
    for (int i = 0; i < 300000; i++) {
        byte *p = malloc(i % 9);
        if (i % 9) memset(p, 1, i % 9);
        free(p);
    }
    must_be_sound();
}

int main(int argc, char **argv) {
    const char *kind = argv[1];
    if (argc > 2 && !strcmp(argv[2], "hard") && !getenv("HG_REFUSED")) {
        refuse_guards();
        setenv("HG_REFUSED", "1", 1);
        execv(realpath("/proc/self/exe", NULL), argv);
    }
    size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 112;
#define IS(name) (!strcmp(kind, name))
    if (IS("many")) return many(), 0;
    if (IS("places")) return places(), 0;
    if (IS("calls")) return calls(), 0;
    if (IS("small")) return small(), 0;
    if (IS("none")) {
        for (int i = 0; i < 300; i++) MUST(!is_sample(malloc(100), 100));
        return 0;
    }
    if (IS("handler")) signal(SIGSEGV, on_fault);
    byte *p = made_here(n, strncmp(kind, "under", 5) != 0), *q;
    size_t length;
    if (IS("kind")) {
        mapping_of(p, &length);
        say(length > 64 * PAGE ? "light" : "hard");
        return 0;
    }
    about(p);
    if (IS("over_read")) sink = p[rounded(n)];
    if (IS("over_write") || IS("handler")) p[rounded(n)] = 1;
    if (IS("under_read")) sink = p[-1];
    if (IS("under_write")) p[-1] = 1;
    if (IS("freed_read") || IS("freed_write") || IS("freed_over")) {
        free_it(p);
        if (IS("freed_read")) sink = p[3];
        if (IS("freed_write")) p[n - 1] = 1;
        if (IS("freed_over")) sink = p[rounded(n)];
    }
    if (IS("double")) {
        freed_here(p);
        free_it(p);
    }
    if (IS("double_later")) {
        free_it(p);
        for (int i = 0; i < 5; i++) free(malloc(i));
        free_it(p);
    }
    if (IS("double_threads")) {
        in_thread(free_it, p);
        free_it(p);
    }
    if (IS("thread_freed_read")) {
        in_thread(free_it, p);
        sink = p[0];
    }
    if (IS("interior")) free_it(p + 16);
    if (IS("slack")) {
        p[n] ^= 1;
        free_it(p);
    }
    if (IS("before")) {
        p[-9] = 0;
        free_it(p);
    }
    if (IS("check")) {
        p[n] ^= 1;
        say("faults %d", heapglass_check());
        return 0;
    }
    if (IS("wrong_size")) free_sized(p, n - 1);
    if (IS("realloc")) {
        memset(p, 5, n);
        q = realloc(p, 3 * n);
        for (size_t i = 0; i < n; i++) MUST(q[i] == 5);
        free_it(malloc(8));
        sink = p[0];
    }
    if (IS("usable_freed")) {
        free_it(p);
        malloc_usable_size(p);
    }
    if (IS("system_call")) {
        free_it(p);
        MUST(write(1, p, 1) == -1 && errno == EFAULT);
        say("refused");
        return 0;
    }
    if (IS("locked")) {
        if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
            say("no lock");
            return 0;
        }
        free_it(p);
        p = sample(n, 1);
        memset(p, 1, n);
        about(p);
        free_it(p);
        sink = p[0];
    }
    if (IS("fork")) {
        memset(p, 9, n);
        pid_t child = fork();
        if (child == 0) {
            for (size_t i = 0; i < n; i++) MUST(p[i] == 9);
            free_it(p);
            q = sample(n, 1);
            memset(q, 1, n);
            free_it(q);
            must_be_sound();
            sink = p[0];
            _exit(0);
        }
        int status;
        MUST(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%x", status);
        for (size_t i = 0; i < n; i++) MUST(p[i] == 9);
        free_it(p);
        must_be_sound();
        say("parent went on");
        return 0;
    }
    say("survived");
    return 0;
}
