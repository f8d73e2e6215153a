/* The frame of the misuse programs: `program KIND SIZE THREAD WARM TAIL`.
 *
 * THREAD 1 commits the fault in a second thread; WARM 1 first makes some thousand ordinary calls, since the first calls of a
 * process take another path; TAIL says what follows the fault: two more frees, or nothing but the end of the thread.
 * The program names the address it is about to misuse, and says how far it came. */
#ifndef MISUSE_H
#define MISUSE_H

#include "../contract/hg.h"
#include <dlfcn.h>

void free_sized(void *, size_t) __attribute__((weak));
void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));

static size_t size;
static const char *kind;
static int warm, frees_after;
/* Taken before the fault, freed after it. */
static void *spare[16];

static int is(const char *name) { return !strcmp(kind, name); }

/* The fault itself: sets the scene, calls `about` with every address that the message may name, then does it. */
static void commit(void);

static void about(const void *p) { say("address %p", p); }

/* From here on nothing but the fault: strace's log is read from this mark. */
static void now(void) { mark("fault"); }

static void warm_up(void) {
    static const size_t sizes[] = {8, 24, 40, 48, 56, 100, 300, 1000, 5000, 40000, 70000};
    enum { KINDS = sizeof sizes / sizeof *sizes };
    void *kept[64] = {0};
    for (int i = 0; i < 2000; i++) {
        free(get(sizes[i % KINDS]));
        int at = i * 7 % 64;
        free(kept[at]);
        kept[at] = get(sizes[i / 3 % KINDS]);
    }
    for (int i = 0; i < 64; i += 2) free(kept[i]);
}

static void *scene(void *unused) {
    if (warm) warm_up();
    for (int i = 0; i < 16; i++) spare[i] = get(64);
    commit();
    say("survived");
    if (frees_after) {
        free(spare[0]);
        free(spare[1]);
        say("later");
    }
    return unused;
}

int main(int argc, char **argv) {
    MUST(argc == 6, "KIND SIZE THREAD WARM TAIL");
    kind = argv[1];
    size = strtoul(argv[2], NULL, 10);
    warm = argv[4][0] == '1';
    frees_after = !strcmp(argv[5], "frees");
    if (argv[3][0] == '1')
        in_thread(scene, NULL);
    else
        scene(NULL);
    if (frees_after) {
        /* A fault shared by two threads may show in either. */
        free(get(64));
        free(get(64));
        free(get(64));
        say("end");
    }
    return 0;
}

#endif
