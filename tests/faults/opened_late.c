/* The library opened by dlopen in a process that runs on another allocator, or on the library itself already: `opened_late
 * PATH`. Its functions are asked for by name and used from several threads beside the process's own. */
#include "../contract/hg.h"
#include <dlfcn.h>

static void *(*their_malloc)(size_t);
static void (*their_free)(void *);
static void *(*their_realloc)(void *, size_t);
static int (*their_check)(void);

static void *life(void *seed_pointer) {
    unsigned seed = (uintptr_t)seed_pointer;
    byte *theirs[50] = {0}, *ours[50] = {0};
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1103515245 + 12345;
        int s = (seed >> 8) % 50;
        size_t n = 1 + (seed >> 10) % (i % 30 ? 500 : 200000);
        their_free(theirs[s]);
        free(ours[s]);
        theirs[s] = their_realloc(their_malloc(n / 2 + 1), n);
        ours[s] = get(n);
        MUST(theirs[s] != NULL);
        memset(theirs[s], s, n);
        memset(ours[s], ~s, n);
        MUST(theirs[s][0] == (byte)s && theirs[s][n - 1] == (byte)s);
    }
    for (int s = 0; s < 50; s++) {
        their_free(theirs[s]);
        free(ours[s]);
    }
    return NULL;
}

int main(int argc, char **argv) {
    for (int round = 0; round < 3; round++) {
        void *library = dlopen(argv[1], RTLD_NOW | (round == 1 ? RTLD_GLOBAL : RTLD_LOCAL));
        MUST(library != NULL, "%s", dlerror());
        their_malloc = (void *(*)(size_t))dlsym(library, "malloc");
        their_free = (void (*)(void *))dlsym(library, "free");
        their_realloc = (void *(*)(void *, size_t))dlsym(library, "realloc");
        their_check = (int (*)(void))dlsym(library, "heapglass_check");
        MUST(their_malloc && their_free && their_realloc && their_check);
        MUST(dlsym(library, "no such symbol") == NULL && dlerror() != NULL);
        pthread_t t[4];
        for (uintptr_t i = 0; i < 4; i++) MUST(pthread_create(&t[i], NULL, life, (void *)(i + 1)) == 0);
        life((void *)99);
        for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
        MUST(their_check() == 0);
        dlclose(library);
    }
    must_be_sound();
    return 0;
}
