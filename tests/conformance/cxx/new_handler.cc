// When there is no memory, the new handler is called until it throws, frees memory, or is taken away; then std::bad_alloc
// is thrown, or null returned by the forms that don't throw. Without a handler that happens at once.
#include "../expect.h"
#include <new>
#include <stdexcept>
#include <sys/resource.h>

using A = std::align_val_t;
static int calls, enough;
static void *reserve;

static void *make(int form, std::size_t n) {
    switch (form) {
    case 0: return operator new(n);
    case 1: return operator new[](n);
    case 2: return operator new(n, A(64));
    case 3: return operator new[](n, A(4096));
    case 4: return operator new(n, std::nothrow);
    case 5: return operator new[](n, std::nothrow);
    case 6: return operator new(n, A(64), std::nothrow);
    default: return operator new[](n, A(4096), std::nothrow);
    }
}

static bool may_throw(int form) { return form < 4; }

static void unmake(int form, void *p) {
    switch (form) {
    case 0: case 4: operator delete(p); break;
    case 1: case 5: operator delete[](p); break;
    case 2: case 6: operator delete(p, A(64)); break;
    default: operator delete[](p, A(4096)); break;
    }
}

static void take_away() {
    if (++calls == enough) std::set_new_handler(nullptr);
}

static void throw_bad_alloc() {
    if (++calls == enough) throw std::bad_alloc();
}

struct special : std::bad_alloc {
    const char *what() const noexcept override { return "special"; }
};

static void throw_special() {
    if (++calls == enough) throw special();
}

static void free_reserve() {
    if (++calls == enough) {
        free(reserve);
        reserve = nullptr;
    }
    if (calls > enough) throw std::bad_alloc();
}

// What came of it: the pointer, and whether something was thrown, and what.
static void *attempt(int form, std::size_t n, const char **thrown) {
    *thrown = nullptr;
    try {
        return make(form, n);
    } catch (const special &) {
        *thrown = "special";
    } catch (const std::bad_alloc &) {
        *thrown = "bad_alloc";
    } catch (...) {
        *thrown = "something else";
    }
    return nullptr;
}

static void refused(std::size_t n, std::new_handler handler, const char *name, int wanted_calls, const char *wanted) {
    for (int form = 0; form < 8; form++) {
        // libstdc++ 12 rounds the size up to the alignment, and such a size up to 0.
        if (!heapglass_check && form % 4 >= 2 && n > SIZE_MAX - 4096) continue;
        calls = 0;
        enough = wanted_calls;
        std::set_new_handler(handler);
        const char *thrown;
        void *p = attempt(form, n, &thrown);
        EXPECT(!p, "%s, form %d, size %zx: gave %p", name, form, n, p);
        EXPECT(calls == wanted_calls, "%s, form %d, size %zx: %d calls instead of %d", name, form, n, calls, wanted_calls);
        if (may_throw(form)) EXPECT(thrown && !strcmp(thrown, wanted), "%s, form %d: threw %s", name, form, thrown ? thrown : "nothing");
        else EXPECT(!thrown, "%s, form %d: threw %s", name, form, thrown);
        std::set_new_handler(nullptr);
    }
}

int main() {
    std::size_t absurd[] = {unknown(SIZE_MAX), unknown(SIZE_MAX - 100), unknown(PTRDIFF_MAX), unknown((std::size_t)1 << 62)};
    for (std::size_t n : absurd) {
        refused(n, nullptr, "no handler", 0, "bad_alloc");
        refused(n, take_away, "taken away", 1, "bad_alloc");
        refused(n, take_away, "taken away later", 5, "bad_alloc");
        refused(n, throw_bad_alloc, "throws", 3, "bad_alloc");
        refused(n, throw_special, "throws its own", 4, "special");
    }

    // A handler that frees memory lets the request succeed. 300 MiB more than there is now, of which 200 are held.
    rlimit before;
    getrlimit(RLIMIT_AS, &before);
    std::size_t now = 0;
    FILE *status = fopen("/proc/self/statm", "r");
    NEED(status && fscanf(status, "%zu", &now) == 1, "/proc/self/statm");
    fclose(status);
    rlimit limit = {now * 4096 + 300 * MIB, before.rlim_max};
    NEED(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit: %s", strerror(errno));
    for (int form = 0; form < 8; form++)
        for (enough = 1; enough <= 3; enough++) {
            reserve = malloc(200 * MIB);
            NEED(reserve, "the reserve");
            calls = 0;
            std::set_new_handler(free_reserve);
            const char *thrown;
            void *p = attempt(form, 180 * MIB, &thrown);
            EXPECT(p && !thrown, "freed by the handler, form %d: %p, threw %s", form, p, thrown ? thrown : "nothing");
            EXPECT(calls == enough, "freed by the handler, form %d: %d calls instead of %d", form, calls, enough);
            if (p) unmake(form, p);
            free(reserve);
        }
    std::set_new_handler(nullptr);
    return finish();
}
