/* Faults of guarded samples: `guards KIND [light|hard] [SIZE]`. With `hard` the kernel refuses its own guards, from the start of the
 * process on. The program finds out which pointers are samples by their usable size, which is exactly what was asked for. */
#include "../contract/hg.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>
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

/* Not by a jump: the caller's frame stays. */
#define FRAME() __asm__ volatile("" ::: "memory")
__attribute__((noinline)) static void freed_here(void *p) {
    free(p);
    FRAME();
}
__attribute__((noinline)) static void freed_by_size(void *p, size_t n) {
    free_sized(p, n);
    FRAME();
}
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

static void *touched;
static struct sigaction old;
static byte *stack;
static size_t stack_bytes;
static sigjmp_buf back;

/* What a handler may look at is as the kernel made it, and it runs where the program wants it. */
static void on_fault_info(int signal, siginfo_t *info, void *context) {
    byte here;
    ucontext_t *at = context;
    MUST(signal == SIGSEGV && info->si_signo == SIGSEGV && info->si_addr == touched && info->si_code > 0);
    MUST(&here > stack && &here < stack + stack_bytes, "another stack");
    MUST(at->uc_stack.ss_sp == stack, "another context");
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    MUST(sigismember(&blocked, SIGUSR1) && sigismember(&blocked, SIGSEGV), "another mask");
    /* The kernel's return address is this function's, as if nobody had come before. */
    MUST((byte *)context == (byte *)__builtin_frame_address(0) + 16);
    /* `say` would need more stack than there is. */
    write(1, "caught 11\n", 10);
    _exit(7);
}

static void on_fault_handed_on(int signal, siginfo_t *info, void *context) {
    say("handed on");
    if (old.sa_flags & SA_SIGINFO) {
        old.sa_sigaction(signal, info, context);
    } else {
        MUST(old.sa_handler == SIG_DFL);
        raise(SIGSEGV);
    }
}

static void on_fault_jump(int signal) { siglongjmp(back, 1); }

static void on_fault_open(int signal, siginfo_t *info, void *context) {
    MUST(mprotect((byte *)((uintptr_t)info->si_addr & -PAGE), PAGE, PROT_READ | PROT_WRITE) == 0);
    say("opened");
}

static void handle(void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    sigaddset(&action.sa_mask, SIGUSR1);
    MUST(sigaction(SIGSEGV, &action, &old) == 0);
}

/* A stack for handlers that ends at a page that nobody may touch. */
static void small_stack(void) {
    stack_bytes = sysconf(_SC_MINSIGSTKSZ) + 2048;
    size_t pages = (stack_bytes + PAGE - 1) / PAGE * PAGE;
    byte *room = mmap(NULL, PAGE + pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(room != MAP_FAILED && mprotect(room, PAGE, PROT_NONE) == 0);
    stack = room + PAGE;
    stack_t it = {.ss_sp = stack, .ss_size = stack_bytes};
    MUST(sigaltstack(&it, NULL) == 0);
}

/* Frees a small sample so that it waits in this thread, and waits, too. */
static int ready[2], enough[2];
static void *park_it(void *p) {
    byte c = 0;
    for (int i = 0; i < 200; i++) free(malloc(40));
    freed_here(p);
    write(ready[1], &c, 1);
    read(enough[0], &c, 1);
    return NULL;
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
    /* getrusage's peak may be that of the process that started this one. */
    static char status[4096];
    int file = open("/proc/self/status", O_RDONLY);
    MUST(read(file, status, sizeof status - 1) > 0);
    close(file);
    say("mappings %d", lines);
    say("kilobytes %ld", strtol(strstr(status, "VmHWM:") + 6, NULL, 10));
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
    /* On the fast path, where there is one. */
    for (int i = 0; i < 1000; i++) free(malloc(40));
    if (IS("handler")) signal(SIGSEGV, on_fault);
    if (IS("handler_info")) {
        small_stack();
        handle(on_fault_info, SA_ONSTACK);
    }
    if (IS("ignored")) signal(SIGSEGV, SIG_IGN);
    byte *p = made_here(n, strncmp(kind, "under", 5) != 0), *q;
    size_t length;
    if (IS("kind")) {
        mapping_of(p, &length);
        say(length > 64 * PAGE ? "light" : "hard");
        return 0;
    }
    about(p);
    if (IS("over_read")) sink = p[rounded(n)];
    touched = p + rounded(n);
    if (IS("over_write") || IS("handler") || IS("handler_info") || IS("ignored")) p[rounded(n)] = 1;
    if (IS("handler_later")) {
        /* After ours; the next sample finds it. */
        signal(SIGSEGV, on_fault);
        p = sample(n, 1);
        about(p);
        p[rounded(n)] = 1;
    }
    if (IS("handler_alone")) {
        /* No sample comes after it, so there is no report. */
        signal(SIGSEGV, on_fault);
        p[rounded(n)] = 1;
    }
    if (IS("handed_on")) {
        handle(on_fault_handed_on, 0);
        p = sample(n, 1);
        about(p);
        p[rounded(n)] = 1;
    }
    if (IS("restored")) {
        /* Handlers come and go; each time a sample comes in between. */
        for (int i = 0; i < 40; i++) {
            struct sigaction before, action = {.sa_handler = i % 2 ? on_fault : on_fault_jump};
            MUST(sigaction(SIGSEGV, &action, &before) == 0);
            kept[0] = sample(n, 1);
            free(kept[0]);
            kept[0] = NULL;
            if (i % 3 == 0) {
                signal(SIGSEGV, SIG_DFL);
            } else {
                sigaction(SIGSEGV, &before, NULL);
            }
        }
        p = sample(n, 1);
        about(p);
        p[rounded(n)] = 1;
    }
    if (IS("jump")) {
        handle((void *)on_fault_jump, 0);
        for (volatile int i = 0; i < 50; i++) {
            byte *volatile q = sample(n, 1);
            if (sigsetjmp(back, 1) == 0) {
                q[rounded(n)] = 1;
                MUST(0, "no fault");
            }
            free(q);
        }
        must_be_sound();
        say("went on");
        return 0;
    }
    if (IS("sent")) {
        raise(SIGSEGV);
    }
    if (IS("sent_to_handler")) {
        signal(SIGSEGV, on_fault);
        sample(n, 1);
        raise(SIGSEGV);
    }
    if (IS("own_guard")) {
        /* Memory that the program itself lets nobody write to for a while is its own affair. */
        handle(on_fault_open, 0);
        byte *pages;
        do {
            MUST(posix_memalign((void **)&pages, PAGE, PAGE) == 0);
            free(kept[0]);
            kept[0] = pages;
        } while (!is_sample(pages, PAGE));
        kept[0] = NULL;
        MUST(mprotect(pages, PAGE, PROT_READ) == 0);
        pages[8] = 1;
        MUST(pages[8] == 1);
        /* It is freed so, and its slot serves again. */
        MUST(mprotect(pages, PAGE, PROT_READ) == 0);
        freed_here(pages);
        for (int i = 0; i < 10000; i++) {
            byte *p = malloc(PAGE);
            memset(p, 1, PAGE);
            free(p);
        }
        must_be_sound();
        say("went on");
        return 0;
    }
    if (IS("who")) {
        say("freed_here %p", (void *)freed_here);
        freed_here(p);
        free_it(malloc(8));
        sink = p[0];
    }
    if (IS("who_by_size")) {
        say("freed_here %p", (void *)freed_by_size);
        freed_by_size(p, n);
        free_it(malloc(8));
        sink = p[0];
    }
    if (IS("parked_elsewhere")) {
        pthread_t thread;
        MUST(pipe(ready) == 0 && pipe(enough) == 0);
        MUST(pthread_create(&thread, NULL, park_it, p) == 0);
        byte c;
        MUST(read(ready[0], &c, 1) == 1);
        must_be_sound();
        write(enough[1], &c, 1);
        pthread_join(thread, NULL);
        must_be_sound();
        say("sound");
        return 0;
    }
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
