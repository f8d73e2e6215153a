/* A limit on memory: `limits as|data BYTES` allows BYTES more than the program has at the start. What doesn't fit is null and
 * ENOMEM, nothing else happens, and what is freed can be had again. */
#include "../contract/hg.h"
#include <sys/resource.h>

enum { SLOTS = 400000 };
static byte *slot[SLOTS];
static uint32_t length[SLOTS];

static const char *which;

static void limit_to(size_t more) {
    int as = !strcmp(which, "as");
    const char *text = slurp("/proc/self/status");
    const char *line = strstr(text, as ? "VmSize:" : "VmData:");
    MUST(line != NULL);
    size_t have = strtoul(strchr(line, ':') + 1, NULL, 10) * 1024;
    struct rlimit r = {have + more, RLIM_INFINITY};
    MUST(setrlimit(as ? RLIMIT_AS : RLIMIT_DATA, &r) == 0);
}

/* Takes chunks of one size until there is no more; returns how many. */
static int fill(int from, size_t n) {
    int i = from;
    for (; i < SLOTS; i++) {
        errno = 0;
        slot[i] = i % 3 ? malloc(n) : calloc(1, n);
        if (!slot[i]) {
            MUST(errno == ENOMEM, "errno %d", errno);
            break;
        }
        length[i] = n;
        memset(slot[i], i, n);
    }
    return i;
}

static void give_back(int count, int step) {
    for (int i = 0; i < count; i += step) {
        if (!slot[i]) continue;
        MUST(slot[i][0] == (byte)i && slot[i][length[i] - 1] == (byte)i, "chunk %d was overwritten", i);
        free(slot[i]);
        slot[i] = NULL;
    }
}

/* Every other function at the end of memory. */
static void refusals(void) {
    static const size_t much = (size_t)1 << 40;
    errno = 0;
    MUST(malloc(much) == NULL && errno == ENOMEM);
    errno = 0;
    MUST(calloc(much / 8, 8) == NULL && errno == ENOMEM);
    errno = 0;
    MUST(memalign(4096, much) == NULL && errno == ENOMEM);
    errno = 0;
    MUST(aligned_alloc(64, much) == NULL && errno == ENOMEM);
    void *kept = &kept;
    errno = 0;
    MUST(posix_memalign(&kept, 64, much) == ENOMEM && kept == &kept);
    if (on_heapglass()) MUST(errno == 0, "posix_memalign returns its error, it does not set errno");
    for (int i = 0; i < SLOTS && slot[i]; i += 1 + i / 2) {
        errno = 0;
        MUST(realloc(slot[i], much) == NULL && errno == ENOMEM);
        MUST(slot[i][0] == (byte)i && slot[i][length[i] - 1] == (byte)i, "a refused realloc changed chunk %d", i);
        errno = 0;
        byte *p = realloc(slot[i], length[i] + 100000);
        MUST(p || errno == ENOMEM);
        if (p) slot[i] = p;
        MUST(slot[i][0] == (byte)i && slot[i][length[i] - 1] == (byte)i, "chunk %d", i);
    }
}

static void *life(void *unused) {
    static const size_t sizes[] = {100, 5000, 70000, 300000, 3000000, 24};
    size_t most[sizeof sizes / sizeof *sizes];
    for (int round = 0; round < 2; round++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            int count = fill(0, sizes[s]);
            refusals();
            must_be_sound();
            /* Half of it in holes, then again: holes are memory too. */
            give_back(count, 2);
            int again = 0;
            for (int i = 0; i < count; i += 2) {
                slot[i] = malloc(sizes[s]);
                if (!slot[i]) break;
                memset(slot[i], i, length[i] = sizes[s]);
                again++;
            }
            MUST(again >= count / 4, "of %d holes of %zu bytes %d were used", count / 2, sizes[s], again);
            give_back(count, 1);
            malloc_trim(0);
            must_be_sound();
            if (round == 0)
                most[s] = count;
            else
                MUST((size_t)count * 2 + 2 >= most[s], "%d of %zu bytes, %zu the first time", count, sizes[s], most[s]);
        }
    return unused;
}

int main(int argc, char **argv) {
    which = argv[1];
    size_t more = strtoul(argv[2], NULL, 10);
    if (argc > 3) {
        /* A second thread under the limit: its stack is there before, its arena is not. */
        pthread_t t;
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, 1 << 18);
        limit_to(more + (1 << 20));
        if (pthread_create(&t, &attr, life, NULL) == 0) pthread_join(t, NULL);
    } else {
        limit_to(more);
        life(NULL);
    }
    /* At the end some memory must be there, whatever was allowed, if it ever was. */
    must_be_sound();
    say("done");
    return 0;
}
