/* Libraries that allocate when they are loaded and free when they are unloaded come and go, in several threads at a time.
 * The argument is the path of one. */
#include "../expect.h"
#include <dlfcn.h>
#include <pthread.h>

static const char *path;

static void *come_and_go(void *unused) {
    for (int i = 0; i < 300; i++) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        NEED(library, "%s", dlerror());
        char *(*text)(int) = (char *(*)(int))dlsym(library, "plugin_text");
        NEED(text, "%s", dlerror());
        char *p = text(10 * i);
        EXPECT(dlclose(library) == 0, "%s", dlerror());
        EXPECT(strlen(p) == (size_t)10 * i, "the text changed when its library went");
        free(p);
        EXPECT(!dlopen("/nowhere/at/all.so", RTLD_NOW) && dlerror(), "a library that isn't there was loaded");
    }
    return unused;
}

int main(int count, char **args) {
    NEED(count == 2, "a library's path is needed");
    path = args[1];
    come_and_go(NULL);
    pthread_t thread[3];
    for (int i = 0; i < 3; i++) NEED(pthread_create(&thread[i], NULL, come_and_go, NULL) == 0, "pthread_create");
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    /* The C++ library brings thread-locals and constructors of its own. */
    for (int i = 0; i < 20; i++) {
        void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
        NEED(library, "%s", dlerror());
        EXPECT(dlclose(library) == 0, "%s", dlerror());
    }
    return finish();
}
