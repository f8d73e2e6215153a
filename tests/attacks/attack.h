/* The frame of the attack programs. `program list` names the cells that it has, each with
 * the state of the chunk that it attacks; `program KIND SIZE THREAD DELAY` is one:
 *
 *   SIZE    cached, binned, mapped, huge: requests that thread caches hold, that go to bins, that are mapped until the
 *           threshold rises, and that are always mapped, in allocators of glibc's kind
 *   THREAD  same, other: who commits the fault, the thread that set the scene or another
 *   DELAY   once, ops, reuse: what comes between the scene and the fault: nothing, 1,000 other operations, or that the
 *           chunk is freed (if it wasn't) and its address handed out again
 *
 * Every program is warm before: it has made thousands of ordinary calls. The line `fault` goes before the faulty act, the
 * next lines before what comes after it: some calls of the same thread (`next`), frees of the chunk's owner and of the
 * neighbours (`neighbour`), many allocations of the size (`reuse`), the end of threads and process (`exit`). What the
 * program sees of damage to what somebody owns is a line `damaged`. It allocates nothing for its own use. */
#ifndef ATTACK_H
#define ATTACK_H

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-result"
#pragma GCC diagnostic ignored "-Wunused-variable"

typedef unsigned char byte;

enum { CACHED = 1, BINNED = 2, MAPPED = 4, HUGE_ = 8, ANY_SIZE = 15 };
enum { ONCE = 1, OPS = 2, REUSE = 4, ANY_DELAY = 7 };
enum { IN_USE, FREED };

struct kind {
    const char *name;
    int sizes, delays;
    /* Is the chunk free when the fault is committed, by the scene's doing? */
    int freed;
    void (*scene)(void);
    void (*act)(void);
    /* What comes before all is freed; may be null. */
    void (*after)(void);
};

/* Each fills the bytes that chunks of glibc's kind have for it, so that one more is one too many. None is a multiple of
 * 2 MiB, which the kernel would align, so that a hole that it came from might not fit it again. */
static const struct { const char *name; int bit; size_t request; int row, claims, again; } SIZES[] = {
    {"cached", CACHED, 40, 64, 6000, 3000},
    {"binned", BINNED, 70008, 8, 64, 40},
    {"mapped", MAPPED, 303088, 6, 16, 12},
    {"huge", HUGE_, (36 << 20) + 3 * 4096 - 16, 4, 8, 4},
};
static const struct { const char *name; int bit; } DELAYS[] = {{"once", ONCE}, {"ops", OPS}, {"reuse", REUSE}};
enum { N_SIZES = sizeof SIZES / sizeof *SIZES, N_DELAYS = sizeof DELAYS / sizeof *DELAYS };

static const struct kind *current;
static size_t size;
static int which, delay;
/* The chunk under attack, and who has its memory by now, if anyone. */
static byte *volatile p;
static byte *volatile owner;

static void say(const char *line) {
    write(1, line, strlen(line));
    write(1, "\n", 1);
}

/* The cell means nothing here: what it attacks doesn't exist. */
static void absent(void) {
    say("absent");
    _exit(0);
}

static byte *get(size_t bytes) {
    byte *volatile got = (byte *)malloc(bytes);
    if (!got) say("no memory"), _exit(1);
    return got;
}

/* What somebody owns, with a pattern by which damage is seen. Of long ones only the ends have it. */
struct object { byte *at; size_t bytes; byte seed, chunk; };
enum { OBJECTS = 90000, END = 4096, WHOLE = 80000 };
static struct object objects[OBJECTS];
static int count;

static void fill(struct object *o) {
    for (size_t i = 0; i < o->bytes; i++) {
        if (o->bytes > WHOLE && i == END) i = o->bytes - END;
        o->at[i] = (byte)(o->seed + i * 5);
    }
}

static int is_whole(struct object *o) {
    for (size_t i = 0; i < o->bytes; i++) {
        if (o->bytes > WHOLE && i == END) i = o->bytes - END;
        if (o->at[i] != (byte)(o->seed + i * 5)) return 0;
    }
    return 1;
}

static int is_zero(const byte *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (bytes > WHOLE && i == END) i = bytes - END;
        if (at[i]) return 0;
    }
    return 1;
}

static byte *own(byte *at, size_t bytes, int chunk) {
    static byte seeds;
    if (count == OBJECTS) say("too many objects"), _exit(1);
    struct object *o = &objects[count++];
    o->at = at, o->bytes = bytes, o->seed = (byte)(seeds += 31), o->chunk = (byte)chunk;
    fill(o);
    return at;
}

static byte *keep(byte *at) { return own(at, size, 1); }

static struct object *find(const byte *at) {
    for (int i = 0; i < count; i++)
        if (objects[i].at == at) return &objects[i];
    return NULL;
}

static void forget(const byte *at) {
    struct object *o = find(at);
    if (o) *o = objects[--count];
}

/* By address; qsort would allocate. */
static void sort(struct object *o, int n) {
    for (int gap = n / 2; gap > 0; gap /= 2)
        for (int i = gap; i < n; i++) {
            struct object one = o[i];
            int at = i;
            for (; at >= gap && o[at - gap].at > one.at; at -= gap) o[at] = o[at - gap];
            o[at] = one;
        }
}

static void look_for_damage(void) {
    for (int i = 0; i < count; i++)
        if (!is_whole(&objects[i])) {
            say("damaged contents");
            return;
        }
}

static void look_for_overlaps(void) {
    sort(objects, count);
    for (int i = 1; i < count; i++)
        if (objects[i - 1].at + objects[i - 1].bytes > objects[i].at) {
            say("damaged: two owners");
            return;
        }
}

/* Some chunks of the size; the one that has its neighbours nearest, this many on each side, is the one to attack. */
static void row(int chunks, int margin) {
    for (int i = 0; i < chunks; i++) keep(get(size));
    sort(objects, count);
    ptrdiff_t nearest = PTRDIFF_MAX;
    for (int i = margin; i < count - margin; i++) {
        ptrdiff_t span = objects[i + margin].at - objects[i - margin].at;
        if (span < nearest) nearest = span, p = objects[i].at;
    }
}

static void scene_row(void) { row(SIZES[which].row, 1); }

/* The nearest above or below the chunk under attack, free or not. */
static byte *neighbour(int step) {
    byte *nearest = NULL;
    for (int i = 0; i < count; i++) {
        byte *at = objects[i].at;
        if (!objects[i].chunk || (step > 0 ? at <= p : at >= p)) continue;
        if (!nearest || (step > 0 ? at < nearest : at > nearest)) nearest = at;
    }
    return nearest;
}

static void drop(byte *at) {
    if (!at || !find(at)) return;
    forget(at);
    free(at);
}

static void scene_freed(void) {
    scene_row();
    drop(p);
}

/* Takes chunks of the size until one has this memory. */
static byte *claim(byte *wanted) {
    static byte *others[8192];
    int n = 0;
    byte *got = NULL;
    while (n < SIZES[which].claims) {
        byte *one = get(size);
        if (one <= wanted && wanted < one + size) {
            got = one;
            break;
        }
        others[n++] = one;
    }
    while (n > 0) free(others[--n]);
    return got;
}

static void *slots[32];

static void operations(int n) {
    static const size_t sizes[] = {24, 104, 512, 3000};
    for (int i = 0; i < n; i++) {
        int at = i * 7 % 32;
        free(slots[at]);
        slots[at] = get(sizes[at % 4]);
    }
}

static void warm_up(void) {
    static const size_t sizes[] = {8, 24, 40, 48, 56, 100, 300, 1000, 5000, 40000, 70000};
    enum { KINDS = sizeof sizes / sizeof *sizes };
    static void *kept[64];
    for (int i = 0; i < 2000; i++) {
        free(get(sizes[i % KINDS]));
        int at = i * 7 % 64;
        free(kept[at]);
        kept[at] = get(sizes[i / 3 % KINDS]);
    }
    for (int i = 0; i < 64; i += 2) free(kept[i]);
    operations(100);
}

static void pause_between(void) {
    if (delay == OPS) operations(1000);
    if (delay != REUSE) return;
    if (current->freed == FREED) {
        owner = claim(p);
        if (owner) keep(owner);
    } else if (find(p)) {
        drop(p);
        byte *again = claim(p);
        p = keep(again ? again : get(size));
    }
}

static void commit(void) {
    say("fault");
    current->act();
    say("next");
    for (int i = 0; i < 4; i++) free(get(64));
}

/* The other thread does one job after another, and ends when there is none. */
static sem_t go, done;
static void (*volatile job)(void);

static void *other_thread(void *unused) {
    for (int i = 0; i < 100; i++) free(get(24 + i % 5 * 100));
    for (;;) {
        sem_post(&done);
        sem_wait(&go);
        if (!job) return unused;
        job();
    }
}

static void in_other(void (*work)(void)) {
    job = work;
    sem_post(&go);
    if (work) sem_wait(&done);
}

static void free_the_rest(void) {
    int left = 0;
    for (int i = 0; i < count; i++) {
        if (objects[i].chunk) free(objects[i].at);
        else objects[left++] = objects[i];
    }
    count = left;
}

/* The bytes that the fault touched are freed by those who own them, the nearest first. */
static void free_all(void) {
    byte *above = neighbour(1), *below = neighbour(-1);
    drop(owner);
    drop(above);
    drop(p);
    drop(below);
    free_the_rest();
}

/* A second size that the fault may have filed the chunk under. */
static size_t also;

static void take(void) {
    for (int turn = 0; turn < 2; turn++) {
        size_t bytes = turn ? also : size;
        int n = turn && SIZES[which].again > 200 ? 200 : SIZES[which].again;
        for (int i = 0; bytes && i < n; i++) {
            byte *volatile one = (byte *)(i % 2 ? malloc(bytes) : calloc(1, bytes));
            if (!one) say("no memory"), _exit(1);
            if (i % 2 == 0 && !is_zero(one, bytes)) say("damaged: calloc gave bytes that aren't zero");
            own(one, bytes, 1);
        }
    }
}

/* Both threads take, since each may have what the fault left in its cache. */
static void take_again(int other) {
    if (other) in_other(take);
    take();
    look_for_damage();
    look_for_overlaps();
    free_the_rest();
}

static byte *stack_room;

static int cell(const struct kind *kind, int size_at, int other, int delay_at) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    alarm(10);
    byte here[4096] __attribute__((aligned(64)));
    stack_room = here;
    current = kind, which = size_at, size = SIZES[size_at].request, delay = DELAYS[delay_at].bit;
    warm_up();
    pthread_t thread;
    if (other) {
        sem_init(&go, 0, 0), sem_init(&done, 0, 0);
        /* Made before the scene: making a thread allocates. */
        pthread_create(&thread, NULL, other_thread, NULL);
        sem_wait(&done);
    }
    kind->scene();
    pause_between();
    if (other)
        in_other(commit);
    else
        commit();
    look_for_damage();
    say("neighbour");
    if (kind->after) kind->after();
    free_all();
    say("reuse");
    take_again(other);
    say("exit");
    if (other) in_other(NULL), pthread_join(thread, NULL);
    return 0;
}

static int attack_main(const struct kind *kinds, int n, int argc, char **argv) {
    static const char *const threads[] = {"same", "other"};
    int is_list = argc == 2 && !strcmp(argv[1], "list");
    if (!is_list && argc != 5) return 2;
    for (int k = 0; k < n; k++)
        for (int s = 0; s < N_SIZES; s++)
            for (int t = 0; t < 2; t++)
                for (int d = 0; d < N_DELAYS; d++) {
                    if (!(kinds[k].sizes & SIZES[s].bit) || !(kinds[k].delays & DELAYS[d].bit)) continue;
                    const char *const words[] = {kinds[k].name, SIZES[s].name, threads[t], DELAYS[d].name};
                    int same = 0;
                    for (int w = 0; w < 4; w++) {
                        if (is_list) write(1, words[w], strlen(words[w])), write(1, "\t", 1);
                        else same += !strcmp(words[w], argv[w + 1]);
                    }
                    if (is_list) say(kinds[k].freed == FREED ? "freed" : "live");
                    if (same == 4) return cell(&kinds[k], s, t, d);
                }
    return is_list ? 0 : 2;
}

/* Header words as the allocator under attack has them: Heapglass's, or else glibc's. An attacker knows the layout; what he
 * doesn't know of it he guesses. */
int heapglass_check(void) __attribute__((weak));
enum { PAGE = 4096, GUESS = 0x41414141, P_FLAG = 1, M_FLAG = 2 };

static int is_heapglass(void) { return &heapglass_check != NULL; }

static int is_glibc(void) {
    Dl_info info;
    return dladdr((void *)malloc, &info) && info.dli_fname && strstr(info.dli_fname, "libc.so");
}

/* Is the chunk under attack a mapping of its own? */
static int is_mapping(void) {
    if (is_heapglass()) return ((uint32_t *)p)[-1] & M_FLAG;
    return is_glibc() && (((uint64_t *)p)[-1] & M_FLAG);
}

static size_t chunk_size(void) { return (size + 8 + 15) & ~(size_t)15; }

static uint64_t header_word(size_t bytes) {
    if (!is_heapglass()) return is_mapping() ? (bytes + 8 + PAGE - 1) / PAGE * PAGE | M_FLAG : bytes | P_FLAG;
    return GUESS | (uint64_t)(is_mapping() ? M_FLAG : bytes | P_FLAG) << 32;
}

#endif
