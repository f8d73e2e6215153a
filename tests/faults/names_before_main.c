/* dlsym and dlerror before main, from several threads, while the heap is young: both allocate on their own account. */
#include "../contract/hg.h"
#include <dlfcn.h>

static void *life(void *seed) {
    for (int i = 0; i < 500; i++) {
        char name[40];
        snprintf(name, sizeof name, "no such symbol %d of %lu", i, (uintptr_t)seed);
        MUST(dlsym(RTLD_DEFAULT, name) == NULL);
        byte *p = get(1 + i * 13);
        const char *why = dlerror();
        MUST(why && strstr(why, name), "%s", why);
        memset(p, 1, 1 + i * 13);
        void *(*next)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "malloc");
        void *q = next(100);
        free(q);
        free(p);
    }
    return NULL;
}

static void threads(void) {
    pthread_t t[6];
    for (uintptr_t i = 0; i < 6; i++) MUST(pthread_create(&t[i], NULL, life, (void *)i) == 0);
    life((void *)99);
    for (int i = 0; i < 6; i++) pthread_join(t[i], NULL);
    must_be_sound();
}

__attribute__((constructor(101))) static void before_main(void) { threads(); }

int main(void) {
    threads();
    return 0;
}
