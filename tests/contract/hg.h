/* What the C tests of the contract share: output that allocates nothing, marks that strace sees, the break, the chunks.
 *
 * Every program also runs on the C library's own allocator, so that the program itself can be checked there; only where
 * the header words lie differs, and `chunk_word` knows both places. */
#ifndef HG_H
#define HG_H

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-result"
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wuse-after-free"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"

int heapglass_check(void) __attribute__((weak));
int heapglass_check(void);

typedef unsigned char byte;

/* One line on standard output. A static buffer per call would race between threads; the stack does not. */
static void say(const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (n > (int)sizeof line - 2) n = sizeof line - 2;
    line[n++] = '\n';
    write(1, line, n);
}

/* A failed write that strace shows: what happens between two marks can be counted. */
static void mark(const char *name) {
    char line[64];
    int n = snprintf(line, sizeof line, "MARK %s", name);
    syscall(SYS_write, -1, line, n);
}

#define MUST(condition, ...)                                                  \
    do {                                                                      \
        if (!(condition)) {                                                   \
            say("%s:%d: not so: %s", __FILE__, __LINE__, #condition);         \
            say("  " __VA_ARGS__);                                            \
            _exit(1);                                                         \
        }                                                                     \
    } while (0)

static int on_heapglass(void) { return heapglass_check != NULL; }

/* A test that means Heapglass must not pass on another allocator because a preload was ignored. */
__attribute__((constructor)) static void be_sure(void) {
    if (getenv("HG_EXPECT") && !on_heapglass()) {
        say("not on heapglass");
        _exit(99);
    }
}

static void must_be_sound(void) {
    if (on_heapglass()) {
        int faults = heapglass_check();
        MUST(faults == 0, "%d faults", faults);
    }
}

/* The break as the kernel has it. */
static uintptr_t the_break(void) { return (uintptr_t)syscall(SYS_brk, 0); }

/* The text of a file of /proc, read without stdio. */
static const char *slurp(const char *path) {
    static char text[1 << 20];
    int fd = open(path, O_RDONLY);
    MUST(fd >= 0, "%s", path);
    size_t have = 0;
    ssize_t n;
    while (have < sizeof text - 1 && (n = read(fd, text + have, sizeof text - 1 - have)) > 0) have += n;
    close(fd);
    text[have] = 0;
    return text;
}

struct region {
    uintptr_t start, end;
};

/* The break region: [heap] in the map of the process, which may be several neighbouring lines. */
static struct region break_region(void) {
    struct region found = {0, 0};
    const char *line = slurp("/proc/self/maps");
    while (line && *line) {
        const char *end = strchr(line, '\n');
        const char *heap = strstr(line, "[heap]");
        if (heap && end && heap < end) {
            uintptr_t a = strtoul(line, NULL, 16), b = strtoul(strchr(line, '-') + 1, NULL, 16);
            if (!found.start) found.start = a;
            found.end = b;
        }
        line = end ? end + 1 : NULL;
    }
    return found;
}

static int in_break(const void *p) {
    struct region r = break_region();
    return (uintptr_t)p >= r.start && (uintptr_t)p < r.end;
}

/* How many mappings the process has. */
static int mappings(void) {
    int lines = 0;
    for (const char *c = slurp("/proc/self/maps"); *c; c++) lines += *c == '\n';
    return lines;
}

/* Resident memory in bytes. */
static size_t resident(void) {
    const char *text = slurp("/proc/self/statm");
    return strtoul(strchr(text, ' ') + 1, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- chunks: p is what malloc returned ---- */

enum { P = 1, M = 2, A = 4 };

/* Size and flags in one number: 4 bytes before the user area on Heapglass, 8 bytes before it in glibc. */
static size_t chunk_word(const void *p) {
    if (on_heapglass()) return __atomic_load_n((const uint32_t *)p - 1, __ATOMIC_RELAXED);
    return __atomic_load_n((const uint64_t *)p - 1, __ATOMIC_RELAXED);
}
static size_t chunk_size(const void *p) { return chunk_word(p) & ~(size_t)15; }
static int chunk_flags(const void *p) { return chunk_word(p) & 7; }
static uint64_t prev_size(const void *p) { return ((const uint64_t *)p)[-2]; }
static void *next_chunk(const void *p) { return (byte *)p + chunk_size(p); }
/* In a bin, or on the way into one: the next chunk knows. Cached and fast chunks count as in use here. */
static int is_binned(const void *p) { return !(chunk_flags(next_chunk(p)) & P); }
static size_t chunk_for(size_t request) {
    size_t n = (request + 8 + 15) & ~(size_t)15;
    return n < 32 ? 32 : n;
}

/* The user pointer of the first chunk of the break region. */
static void *first_chunk(void) { return (void *)(break_region().start + 16); }

struct walked {
    int chunks;    /* the top included */
    int binned;
    size_t bytes;  /* all chunks together */
    void *top;
    size_t top_size;
};

/* Walks the break region from sizes alone. It must come out exactly at the break; nothing else ends the walk. */
static struct walked walk(int draw) {
    struct region r = break_region();
    struct walked w = {0};
    uintptr_t c = r.start;
    while (c < r.end) {
        void *p = (void *)(c + 16);
        size_t size = chunk_size(p);
        MUST(size >= 16 && c + size <= r.end, "chunk %#lx of %zu bytes leaves %#lx-%#lx", c, size, r.start, r.end);
        int is_top = c + size == r.end;
        if (draw) say("chunk %#lx size %zu %s%s", c, size, chunk_flags(p) & P ? "P" : "-", is_top ? " top" : "");
        if (is_top) {
            w.top = p;
            w.top_size = size;
        } else if (is_binned(p)) {
            MUST(prev_size(next_chunk(p)) == size, "footer %lu, size %zu", prev_size(next_chunk(p)), size);
            MUST(chunk_flags(p) & P, "two free neighbours at %p", p);
            w.binned++;
        }
        w.chunks++;
        w.bytes += size;
        c += size;
    }
    MUST(c == r.end && w.bytes == r.end - r.start, "%#lx", c);
    return w;
}

/* malloc that must succeed. */
static void *get(size_t n) {
    void *p = malloc(n);
    MUST(p != NULL, "malloc(%zu)", n);
    return p;
}

static uint64_t random_state = 0x9E3779B97F4A7C15u;
static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Runs f in a thread and waits for it. */
static void in_thread(void *(*f)(void *), void *arg) {
    pthread_t t;
    MUST(pthread_create(&t, NULL, f, arg) == 0, "pthread_create");
    pthread_join(t, NULL);
}

#endif
