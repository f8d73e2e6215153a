// Types with an alignment above the default's: single, in arrays, in containers, behind a base class.
#include "../expect.h"
#include <list>
#include <memory>
#include <vector>

template <std::size_t N> struct alignas(N) wide {
    virtual ~wide() {}
    unsigned char bytes[N / 2 + 3];
};

struct base {
    virtual ~base() {}
};

template <std::size_t N> struct alignas(N) derived : base {
    unsigned char bytes[3 * N];
};

template <std::size_t N> static void check() {
    std::vector<std::unique_ptr<wide<N>>> single;
    std::vector<std::unique_ptr<base>> behind;
    for (int i = 0; i < 200; i++) {
        single.emplace_back(new wide<N>);
        EXPECT(aligned(single.back().get(), N), "new of alignment %zu: %p", N, (void *)single.back().get());
        fill(single.back()->bytes, i, 0, sizeof single.back()->bytes);
        derived<N> *d = new derived<N>;
        EXPECT(aligned(d, N), "new of alignment %zu: %p", N, (void *)d);
        memset(d->bytes, 1, sizeof d->bytes);
        behind.emplace_back(d);
    }
    for (int i = 0; i < 200; i++) {
        std::size_t n = sizeof single[i]->bytes;
        EXPECT(intact(single[i]->bytes, i, n) == n, "object %d of alignment %zu was overwritten", i, N);
    }
    for (int n = 1; n < 40; n += 3) {
        std::unique_ptr<wide<N>[]> array(new wide<N>[n]);
        for (int i = 0; i < n; i++) EXPECT(aligned(&array[i], N), "element %d of alignment %zu: %p", i, N, (void *)&array[i]);
    }
    std::vector<wide<N>> vector(33);
    vector.resize(100);
    std::list<wide<N>> list(20);
    auto shared = std::make_shared<wide<N>>();
    EXPECT(aligned(&vector[0], N) && aligned(&list.front(), N) && aligned(shared.get(), N), "in a container: %zu", N);
}

int main() {
    check<32>();
    check<64>();
    check<128>();
    check<512>();
    check<4096>();
    check<16384>();
    return finish();
}
