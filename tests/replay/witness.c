/* An allocator to preload that writes down each call, in the order in which they came, to the file that WITNESS names. It never uses
 * memory again. With OVERLAPS compiled in, two chunks of 5000 bytes and more that follow each other lie one over the other. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOM (1ul << 36)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *next;
static int log_file = -1;

static size_t *size_of(void *p) {
    return (size_t *)p - 1;
}

static void note(char what, void *p, size_t size) {
    char line[96];
    if (log_file < 0) {
        const char *name = getenv("WITNESS");
        log_file = name ? open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : open("/dev/null", O_WRONLY);
    }
    int length = snprintf(line, sizeof line, "%d %ld %c %zu %p\n", getpid(), syscall(SYS_gettid), what, size, p);
    if (write(log_file, line, length) != length) _exit(99);
}

static void *take(char what, size_t align, size_t size) {
    pthread_mutex_lock(&lock);
    if (!next) next = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uintptr_t place = ((uintptr_t)next + 16 + align - 1) & -align;
#ifdef OVERLAPS
    static char *last;
    if (size >= 5000 && last) place = ((uintptr_t)last + align - 1) & -align;
    last = size >= 5000 && !last ? (char *)place + 64 : NULL;
#endif
    *size_of((void *)place) = size;
    if ((char *)place + size > next) next = (char *)place + size;
    note(what, (void *)place, size);
    pthread_mutex_unlock(&lock);
    return (void *)place;
}

void *malloc(size_t size) {
    return take('m', 16, size);
}

void *calloc(size_t count, size_t size) {
    return memset(take('c', 16, count * size), 0, count * size);
}

int posix_memalign(void **p, size_t align, size_t size) {
    *p = take('a', align, size);
    return 0;
}

void *memalign(size_t align, size_t size) {
    return take('a', align, size);
}

void *realloc(void *p, size_t size) {
    void *made = take('r', 16, size);
    if (p) memcpy(made, p, *size_of(p) < size ? *size_of(p) : size);
    return made;
}

void free(void *p) {
    if (!p) return;
    pthread_mutex_lock(&lock);
    note('f', p, *size_of(p));
    pthread_mutex_unlock(&lock);
}
