/* One fault in secure mode: `faults KIND SIZE WAY`. WAY says which call made the chunk, and so its alignment.
 *
 * Says which address the message has to name, and "survived" once the call is over at which the fault has to be stopped. */
#include "../contract/hg.h"
#include <signal.h>

static const char *kind, *way;
static size_t size;

static int is(const char *name) { return !strcmp(kind, name); }

static byte *make(void) {
    byte *p = NULL;
    if (!strcmp(way, "malloc")) p = malloc(size);
    if (!strcmp(way, "calloc")) p = calloc(1, size);
    if (!strcmp(way, "realloc")) p = realloc(malloc(size / 2 + 1), size);
    if (!strcmp(way, "realloc_less")) p = realloc(malloc(2 * size + 1), size);
    if (!strcmp(way, "align64")) MUST(posix_memalign((void **)&p, 64, size) == 0, "64");
    if (!strcmp(way, "align4096")) p = aligned_alloc(4096, size);
    MUST(p != NULL, "%s", way);
    MUST(malloc_usable_size(p) == size, "%zu usable of %zu", malloc_usable_size(p), size);
    memset(p, 'x', size);
    return p;
}

static void about(const void *p) { say("address %p", p); }

static void survived(void) {
    say("survived");
    _exit(0);
}

static void *free_it(void *p) {
    free(p);
    return NULL;
}

static void overflow(byte *p) {
    byte wrong = is("over_nul") ? 0 : 'A';
    /* By chance the byte may be the one that is there. */
    size_t at = is("over_far") ? size + 7 : size;
    if (p[at] == wrong) wrong ^= 0x55;
    p[at] = wrong;
    about(p);
    if (is("over_realloc"))
        p = realloc(p, size + 1);
    else if (is("over_shrink"))
        p = realloc(p, size / 2 + 1);
    else if (is("over_usable"))
        malloc_usable_size(p);
    else if (is("over_thread"))
        in_thread(free_it, p);
    else
        free(p);
    survived();
}

static void use_after_free(byte *p) {
    size_t at = is("stale_first") ? 0 : is("stale_last") ? size - 1 : size / 2;
    free(p);
    p[at] = 'A';
    about(p);
    say("offset %zu", at);
    /* More than wait at a time: each that comes in puts one out, at random. */
    for (int i = 0; i < 60000; i++) {
        byte *q = malloc(size);
        if (q == p) {
            say("handed out");
            survived();
        }
        free(q);
    }
    /* What is in a bin by now, and not wanted again. */
    heapglass_check ? heapglass_check() : 0;
    survived();
}

static void twice(byte *p) {
    about(p);
    free(p);
    int frees = is("double_later") ? 1000 : is("double_much_later") ? 20000 : 0;
    for (int i = 0; i < frees; i++) {
        void *q = malloc(size + 16 * (1 + i % 8));
        free(q);
    }
    if (is("double_in_thread"))
        in_thread(free_it, p);
    else
        free(p);
    survived();
}

static void sees_a_fault(int signal, siginfo_t *info, void *unused) {
    say("fault at %p", info->si_addr);
    _exit(signal == SIGSEGV && !unused ? 1 : 3);
}

static void guards(byte *p) {
    struct sigaction action = {.sa_sigaction = sees_a_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    size_t page = sysconf(_SC_PAGESIZE);
    byte *end = (byte *)(((uintptr_t)p + size + 8 + page - 1) & ~(page - 1));
    byte *start = (byte *)(((uintptr_t)p - 16) & ~(page - 1));
    byte *at = is("guard_behind") ? end : is("guard_before") ? start - 1 : p + size / 2;
    if (is("guard_freed")) free(p);
    if (is("guard_shrunk")) {
        p = realloc(p, size / 2);
        at = p + size / 2 + page + 16;
    }
    if (is("guard_grown")) {
        byte *q = realloc(p, 2 * size);
        MUST(q != p && q[size - 1] == 'x', "moved, with what was in it");
        at = p;
    }
    if (is("guard_grown_behind")) {
        p = realloc(p, 2 * size);
        p[2 * size - 1] = 1;
        at = (byte *)(((uintptr_t)p + 2 * size + 8 + page - 1) & ~(page - 1));
    }
    say("touches %p", at);
    *(volatile byte *)at = 1;
    survived();
}

int main(int argc, char **argv) {
    MUST(argc == 4, "KIND SIZE WAY");
    kind = argv[1];
    size = strtoul(argv[2], NULL, 10);
    way = argv[3];
    byte *p = make();
    if (!strncmp(kind, "over_", 5)) overflow(p);
    if (!strncmp(kind, "stale_", 6)) use_after_free(p);
    if (!strncmp(kind, "double", 6)) twice(p);
    if (!strncmp(kind, "guard_", 6)) guards(p);
    MUST(0, "no such kind: %s", kind);
}
