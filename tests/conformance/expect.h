/* What the conformance programs share: how a broken promise is told, and how a program ends.
 *
 * Nothing here allocates, so that a broken allocator can still be told of. A program returns finish() from main: 0 when
 * every expectation held and Heapglass, where it is there, proves its heaps sound. */
#ifndef EXPECT_H
#define EXPECT_H

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heapglass.h"

#ifndef __GLIBC__
/* musl has none of these, Heapglass gives them to its programs too. */
int malloc_trim(size_t);
void *pvalloc(size_t);
#endif

/* Absent when the program runs on the C library's own allocator. */
#pragma weak heapglass_check

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int faults;

__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > (int)sizeof line - 1) n = sizeof line - 1;
    if (write(1, line, n) != n) _exit(3);
}

#define EXPECT(holds, ...)                                                                        \
    do {                                                                                          \
        if (!(holds)) {                                                                           \
            /* A broken promise in a loop is told often enough after twenty times. */             \
            if (__atomic_fetch_add(&faults, 1, __ATOMIC_RELAXED) < 20) {                          \
                say("%s:%d: not so: %s\n    ", __FILE__, __LINE__, #holds);                       \
                say(__VA_ARGS__);                                                                 \
                say("\n");                                                                        \
            }                                                                                     \
        }                                                                                         \
    } while (0)

/* For what the rest of the program stands on. */
#define NEED(holds, ...)                                                                          \
    do {                                                                                          \
        if (!(holds)) {                                                                           \
            say("%s:%d: not so: %s\n    ", __FILE__, __LINE__, #holds);                           \
            say(__VA_ARGS__);                                                                     \
            say("\n");                                                                            \
            _exit(2);                                                                             \
        }                                                                                         \
    } while (0)

__attribute__((unused)) static int finish(void) {
    /* Set by the test: a program that was meant to run on Heapglass and doesn't would prove nothing. */
    EXPECT(heapglass_check || !getenv("CONFORMANCE_ON_HEAPGLASS"), "this is not Heapglass");
    if (heapglass_check) {
        int found = heapglass_check();
        EXPECT(found == 0, "heapglass_check found %d", found);
    }
    return faults ? 1 : 0;
}

/* The compiler may not know where a pointer comes from, or it would judge what is ours to judge. */
__attribute__((unused)) static inline void *opaque(void *p) {
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

__attribute__((unused)) static inline size_t unknown(size_t n) {
    __asm__ volatile("" : "+r"(n));
    return n;
}

/* A pattern that tells blocks and places apart, so that a byte from elsewhere is seen. */
__attribute__((unused)) static inline unsigned char pattern(size_t seed, size_t at) {
    size_t x = (seed + 1) * 0x9e3779b97f4a7c15u + at * 0xbf58476d1ce4e5b9u;
    return (unsigned char)(x >> 56);
}

__attribute__((unused)) static void fill(void *p, size_t seed, size_t from, size_t to) {
    unsigned char *bytes = (unsigned char *)p;
    for (size_t i = from; i < to; i++) bytes[i] = pattern(seed, i);
}

/* The first place where the pattern is broken, or `to`. */
__attribute__((unused)) static size_t intact(const void *p, size_t seed, size_t to) {
    const unsigned char *bytes = (const unsigned char *)p;
    for (size_t i = 0; i < to; i++)
        if (bytes[i] != pattern(seed, i)) return i;
    return to;
}

/* The first byte that isn't zero, or n. */
__attribute__((unused)) static size_t zeroes(const void *p, size_t n) {
    const unsigned char *bytes = (const unsigned char *)p;
    for (size_t i = 0; i < n; i++)
        if (bytes[i]) return i;
    return n;
}

__attribute__((unused)) static inline int aligned(const void *p, size_t alignment) {
    return (uintptr_t)p % alignment == 0;
}

extern char end;

/* Does p lie between the program's own data and the program break? */
__attribute__((unused)) static int in_break(const void *p) {
    return (const char *)p > &end && (const char *)p < (const char *)sbrk(0);
}

/* A small generator of our own: the same sequence on every C library. */
__attribute__((unused)) static inline uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* Resident memory, read without allocating. */
#include <fcntl.h>
__attribute__((unused)) static size_t resident(void) {
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY);
    NEED(fd >= 0, "/proc/self/statm: %s", strerror(errno));
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    NEED(n > 0, "/proc/self/statm is empty");
    text[n] = 0;
    unsigned long total, pages;
    NEED(sscanf(text, "%lu %lu", &total, &pages) == 2, "/proc/self/statm: %s", text);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

#endif
