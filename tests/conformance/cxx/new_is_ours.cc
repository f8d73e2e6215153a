// The operators, malloc and free all come from one and the same object: the one named by the argument, or this program.
// libstdc++'s own objects reach them too.
#include "../expect.h"
#include <dlfcn.h>
#include <new>
#include <string>

static const char *const NAMES[] = {
    "_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t", "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t", "_ZdlPv", "_ZdaPv", "_ZdlPvm", "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t", "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t", "malloc", "free", "calloc", "realloc", "aligned_alloc", "posix_memalign",
};

static void *base_of(const void *symbol, const char *name) {
    Dl_info info;
    NEED(symbol && dladdr(symbol, &info), "%s is nowhere", name);
    return info.dli_fbase;
}

int main(int count, char **args) {
    const char *wanted = count > 1 ? args[1] : args[0];
    Dl_info home;
    void *(*plain)(std::size_t) = &operator new;
    NEED(dladdr((void *)plain, &home), "operator new is nowhere");
    EXPECT(strstr(home.dli_fname, wanted) || strstr(wanted, home.dli_fname), "operator new is in %s, not in %s", home.dli_fname,
           wanted);
    void *(*aligned_new)(std::size_t, std::align_val_t) = &operator new[];
    void (*sized_delete)(void *, std::size_t) = &operator delete;
    EXPECT(base_of((void *)aligned_new, "aligned new") == home.dli_fbase, "aligned operator new[] is elsewhere");
    EXPECT(base_of((void *)sized_delete, "sized delete") == home.dli_fbase, "sized operator delete is elsewhere");
    EXPECT(base_of((void *)&malloc, "malloc") == home.dli_fbase, "malloc is elsewhere");
    EXPECT(base_of((void *)&free, "free") == home.dli_fbase, "free is elsewhere");
    // What other objects of the process find, libstdc++ first of all.
    for (const char *name : NAMES) {
        void *symbol = dlsym(RTLD_DEFAULT, name);
        EXPECT(symbol && base_of(symbol, name) == home.dli_fbase, "others find %s elsewhere", name);
    }
    std::string text(100000, 'x');
    text += "y";
    EXPECT(text.size() == 100001, "std::string");
    return finish();
}
