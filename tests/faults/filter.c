/* A seccomp filter refuses one system call: `filter NAME ERRNO early|late`. Everything goes on by other means. */
#include "../contract/hg.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

static void refuse(int number, int with) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | with),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "errno %d", errno);
}

enum { SLOTS = 300 };
struct life {
    uint64_t seed;
    byte *p[SLOTS];
    size_t n[SLOTS];
};

static uint64_t step(uint64_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void *live(void *arg) {
    struct life *l = arg;
    for (int i = 0; i < 20000; i++) {
        uint64_t r = step(&l->seed);
        int s = r % SLOTS;
        size_t n = 1 + (r >> 16) % (r % 50 == 0 ? 3000000 : r % 7 == 0 ? 100000 : 500);
        if (l->p[s] && r >> 63) {
            size_t kept = l->n[s] < n ? l->n[s] : n;
            l->p[s] = realloc(l->p[s], n);
            MUST(l->p[s] && l->p[s][0] == (byte)s && l->p[s][kept - 1] == (byte)s, "realloc to %zu", n);
        } else {
            if (l->p[s]) MUST(l->p[s][0] == (byte)s && l->p[s][l->n[s] - 1] == (byte)s);
            free(l->p[s]);
            l->p[s] = get(n);
        }
        memset(l->p[s], s, l->n[s] = n);
        if (i % 4000 == 0) malloc_trim(0);
    }
    for (int s = 0; s < SLOTS; s++) free(l->p[s]);
    return NULL;
}

int main(int argc, char **argv) {
    static const struct { const char *name; int number; } calls[] = {
        {"brk", SYS_brk}, {"mremap", SYS_mremap}, {"madvise", SYS_madvise}, {"mprotect", SYS_mprotect},
        {"prctl", SYS_prctl}, {"getrandom", SYS_getrandom}, {"sched_getaffinity", SYS_sched_getaffinity},
        {"munmap", SYS_munmap}, {"mmap", SYS_mmap}, {"clock_gettime", SYS_clock_gettime},
    };
    int number = -1, with = !strcmp(argv[2], "EPERM") ? EPERM : ENOMEM;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(calls[i].name, argv[1])) number = calls[i].number;
    MUST(number >= 0);
    static struct life lives[3] = {{1}, {2}, {3}};
    void *before[50];
    if (!strcmp(argv[3], "late"))
        for (int i = 0; i < 50; i++) memset(before[i] = get(1000 * i + 1), 7, 1000 * i + 1);
    refuse(number, with);
    if (!strcmp(argv[3], "late"))
        for (int i = 0; i < 50; i++) {
            MUST(((byte *)before[i])[1000 * i] == 7);
            free(before[i]);
        }
    pthread_t t;
    /* mprotect and the like also make a thread's stack: no thread then. */
    int threaded = pthread_create(&t, NULL, live, &lives[0]) == 0;
    live(&lives[1]);
    if (threaded) pthread_join(t, NULL);
    live(&lives[2]);
    malloc_trim(0);
    must_be_sound();
    return 0;
}
