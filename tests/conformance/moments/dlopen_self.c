/* The library can be loaded at run time, beside the C library's own allocator or on top of itself: it serves those who ask
 * it by name, in old and new threads, and unloading it harms nobody. The argument is its path. */
#include "../expect.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>

static void *(*their_malloc)(size_t);
static void *(*their_calloc)(size_t, size_t);
static void *(*their_realloc)(void *, size_t);
static void (*their_free)(void *);
static int (*their_check)(void);

static void *symbol(void *library, const char *name) {
    void *address = dlsym(library, name);
    NEED(address, "%s: %s", name, dlerror());
    return address;
}

/* Both allocators by turns, so that each meets the other's moves of the break. */
static void *work(void *unused) {
    enum { MANY = 400 };
    char *theirs[MANY], *ours[MANY];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            size_t n = 1 + 50 * i + (i % 50 == 0) * 200000;
            theirs[i] = i % 2 ? their_malloc(n) : their_calloc(1, n);
            ours[i] = malloc(n);
            NEED(theirs[i] && ours[i] && theirs[i] != ours[i], "%zu bytes: %p %p", n, theirs[i], ours[i]);
            fill(theirs[i], i, 0, n);
            fill(ours[i], i + 1000, 0, n);
            theirs[i] = their_realloc(theirs[i], 2 * n);
            NEED(theirs[i], "realloc");
            fill(theirs[i], i, n, 2 * n);
        }
        for (int i = 0; i < MANY; i++) {
            size_t n = 1 + 50 * i + (i % 50 == 0) * 200000;
            EXPECT(intact(theirs[i], i, 2 * n) == 2 * n, "theirs, block %d", i);
            EXPECT(intact(ours[i], i + 1000, n) == n, "ours, block %d", i);
            their_free(theirs[i]);
            free(ours[i]);
        }
    }
    return unused;
}

static pthread_barrier_t loaded, used;

static void *old_thread(void *unused) {
    free(malloc(100));
    pthread_barrier_wait(&loaded);
    work(NULL);
    pthread_barrier_wait(&used);
    return unused;
}

static void in_child(void (*what)(void)) {
    pid_t child = fork();
    NEED(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        what();
        _exit(faults ? 1 : 0);
    }
    int status;
    NEED(waitpid(child, &status, 0) == child, "waitpid");
    EXPECT(status == 0, "the child's status is %x", status);
}

static void work_in_child(void) { work(NULL); }
static void allocate_in_child(void) { free(malloc(1000)); }

int main(int count, char **args) {
    NEED(count == 2, "the library's path is needed");
    pthread_t old, new;
    pthread_barrier_init(&loaded, NULL, 2);
    pthread_barrier_init(&used, NULL, 2);
    NEED(pthread_create(&old, NULL, old_thread, NULL) == 0, "pthread_create");

    void *library = dlopen(args[1], RTLD_NOW | RTLD_LOCAL);
    NEED(library, "%s", dlerror());
    their_malloc = symbol(library, "malloc");
    their_calloc = symbol(library, "calloc");
    their_realloc = symbol(library, "realloc");
    their_free = symbol(library, "free");
    their_check = symbol(library, "heapglass_check");
    /* Under the preload this is the one that is there already. */
    if (heapglass_check) EXPECT((void *)their_malloc == dlsym(RTLD_DEFAULT, "malloc"), "the library was loaded twice");
    else EXPECT((void *)their_malloc != (void *)malloc, "loading it replaced malloc");

    work(NULL);
    pthread_barrier_wait(&loaded);
    NEED(pthread_create(&new, NULL, work, NULL) == 0, "pthread_create");
    pthread_join(new, NULL);
    in_child(work_in_child);
    EXPECT(their_check() == 0, "heapglass_check found faults");
    for (int i = 0; i < 100; i++) {
        void *again = dlopen(args[1], RTLD_NOW | RTLD_LOCAL);
        EXPECT(again == library, "loaded again: %p, then %p", library, again);
        dlclose(again);
    }

    /* Threads that used it are still to end, and forks to come. */
    pthread_barrier_wait(&used);
    dlclose(library);
    pthread_join(old, NULL);
    in_child(allocate_in_child);
    return finish();
}
