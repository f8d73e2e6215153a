/* dlsym and dlerror, which allocate, work before main and in the first calls of a thread. */
#include "../expect.h"
#include <dlfcn.h>
#include <pthread.h>

static void *found, *missing;
/* What dlerror says begins with the program's path. */
static char message[5000];

static void look(void) {
    char *p = malloc(100);
    NEED(p, "malloc");
    found = dlsym(RTLD_NEXT, "malloc");
    missing = dlsym(RTLD_DEFAULT, "no_such_symbol_anywhere");
    const char *why = dlerror();
    snprintf(message, sizeof message, "%s", why ? why : "");
    free(p);
}

static void check(const char *when) {
    EXPECT(found, "%s: RTLD_NEXT has no malloc", when);
    EXPECT(!missing, "%s: a symbol that isn't there is at %p", when, missing);
    EXPECT(strstr(message, "no_such_symbol_anywhere"), "%s: dlerror said: %s", when, message);
    found = NULL;
    message[0] = 0;
}

static void before_all(void) {
    look();
    check("before all constructors");
}

__attribute__((section(".preinit_array"), used)) static void (*pre_initialiser)(void) = before_all;

__attribute__((constructor(101))) static void first(void) {
    look();
    check("in the first constructor");
}

static void *in_thread(void *unused) {
    look();
    check("in a thread");
    return unused;
}

int main(void) {
    look();
    check("in main");
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        NEED(pthread_create(&thread, NULL, in_thread, NULL) == 0, "pthread_create");
        pthread_join(thread, NULL);
    }
    return finish();
}
