// Every replaceable operator new gives memory of its own, rightly aligned, and every operator delete that may follow it
// takes it back.
#include "../expect.h"
#include <malloc.h>
#include <new>

// The bare calls of operators: new-expressions could be removed in pairs by the compiler.
using A = std::align_val_t;

static void *made(int way, std::size_t n, std::size_t alignment) {
    switch (way) {
    case 0: return operator new(n);
    case 1: return operator new[](n);
    case 2: return operator new(n, std::nothrow);
    case 3: return operator new[](n, std::nothrow);
    case 4: return operator new(n, A(alignment));
    case 5: return operator new[](n, A(alignment));
    case 6: return operator new(n, A(alignment), std::nothrow);
    default: return operator new[](n, A(alignment), std::nothrow);
    }
}

static bool is_array(int way) { return way % 2; }
static bool is_aligned(int way) { return way >= 4; }

// Each kind of new has three deletes: plain, nothrow and sized.
static void gone(void *p, int way, int how, std::size_t n, std::size_t alignment) {
    A a = A(alignment);
    switch ((is_aligned(way) ? 6 : 0) + (is_array(way) ? 3 : 0) + how) {
    case 0: operator delete(p); break;
    case 1: operator delete(p, std::nothrow); break;
    case 2: operator delete(p, n); break;
    case 3: operator delete[](p); break;
    case 4: operator delete[](p, std::nothrow); break;
    case 5: operator delete[](p, n); break;
    case 6: operator delete(p, a); break;
    case 7: operator delete(p, a, std::nothrow); break;
    case 8: operator delete(p, n, a); break;
    case 9: operator delete[](p, a); break;
    case 10: operator delete[](p, a, std::nothrow); break;
    default: operator delete[](p, n, a); break;
    }
}

int main() {
    std::size_t sizes[] = {0, 1, 8, 16, 17, 24, 25, 100, 1000, 1024, 1025, 5000, 40000, 100000, 131072, 300000, 2 * MIB};
    for (std::size_t n : sizes)
        for (int way = 0; way < 8; way++)
            for (int how = 0; how < 3; how++)
                for (std::size_t alignment = is_aligned(way) ? 1 : 16; alignment <= (is_aligned(way) ? 65536 : 16); alignment *= 2) {
                    void *p = made(way, n, alignment), *q = made(way, n, alignment);
                    NEED(p && q && p != q, "way %d, size %zu: %p %p", way, n, p, q);
                    EXPECT(aligned(p, alignment) && aligned(q, alignment), "way %d, size %zu, alignment %zu: %p", way, n,
                           alignment, p);
                    EXPECT(aligned(p, __STDCPP_DEFAULT_NEW_ALIGNMENT__), "way %d, size %zu: %p", way, n, p);
                    EXPECT(malloc_usable_size(p) >= n, "way %d: %zu of %zu", way, malloc_usable_size(p), n);
                    fill(p, 1, 0, n);
                    fill(q, 2, 0, n);
                    EXPECT(intact(p, 1, n) == n, "way %d, size %zu: overlapped", way, n);
                    gone(p, way, how, n, alignment);
                    EXPECT(intact(q, 2, n) == n, "way %d, how %d, size %zu: changed by the other's delete", way, how, n);
                    gone(q, way, how, n, alignment);
                }
    // Null may be deleted in every way.
    for (int way = 0; way < 8; way++)
        for (int how = 0; how < 3; how++) gone(opaque(nullptr), way, how, 100, 64);

    // Were a delete to do nothing, each of these would keep 200 MB.
    for (int way = 0; way < 8; way++)
        for (int how = 0; how < 3; how++) {
            std::size_t before = resident();
            for (int i = 0; i < 2000; i++) {
                void *p = made(way, 100000, 128);
                memset(p, 1, 100000);
                gone(p, way, how, 100000, 128);
            }
            EXPECT(resident() < before + 20 * MIB, "way %d, how %d: %zu KiB more", way, how, (resident() - before) >> 10);
        }
    return finish();
}
