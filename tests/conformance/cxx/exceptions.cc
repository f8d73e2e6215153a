// Exceptions are allocated, thrown, nested, carried between threads and freed; a constructor that throws gives its memory
// back through the matching delete.
#include "../expect.h"
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static void deep(int n) {
    std::vector<std::string> held(5, std::string(n * 7, 'h'));
    if (n == 0) throw std::runtime_error(std::string(5000, 'e'));
    try {
        deep(n - 1);
    } catch (...) {
        std::throw_with_nested(std::logic_error("level " + std::to_string(n)));
    }
}

static int depth(const std::exception &e) {
    try {
        std::rethrow_if_nested(e);
    } catch (const std::exception &inner) {
        return 1 + depth(inner);
    }
    return 0;
}

struct big_error {
    char bytes[70000];
};

struct alignas(256) refuses {
    char bytes[100000];
    refuses() { throw 7; }
};

static void work() {
    for (int i = 0; i < 200; i++) {
        try {
            deep(20);
            EXPECT(false, "nothing was thrown");
        } catch (const std::exception &e) {
            EXPECT(depth(e) == 20, "%d exceptions deep", depth(e));
        }
        try {
            big_error e;
            fill(e.bytes, i, 0, sizeof e.bytes);
            throw e;
        } catch (const big_error &e) {
            EXPECT(intact(e.bytes, i, sizeof e.bytes) == sizeof e.bytes, "the thrown object changed");
        }
    }
}

int main() {
    work();
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++) threads.emplace_back(work);
    for (auto &thread : threads) thread.join();

    std::exception_ptr carried;
    std::thread([&] {
        try {
            throw std::runtime_error(std::string(3000, 'c'));
        } catch (...) {
            carried = std::current_exception();
        }
    }).join();
    try {
        std::rethrow_exception(carried);
    } catch (const std::exception &e) {
        EXPECT(strlen(e.what()) == 3000, "carried: %zu", strlen(e.what()));
    }
    carried = nullptr;

    // Were the memory of the unborn kept, this would be 400 MB and 2 GB.
    std::size_t before = resident();
    for (int i = 0; i < 4000; i++) {
        try {
            refuses *p = new refuses;
            EXPECT(!p, "it was born");
        } catch (int) {
        }
        try {
            refuses *p = new refuses[5];
            EXPECT(!p, "they were born");
        } catch (int) {
        }
    }
    EXPECT(resident() < before + 20 * MIB, "%zu KiB more resident", (resident() - before) >> 10);

    // A new-expression of more elements than there can be.
    try {
        int *p = new int[unknown(SIZE_MAX / 2)];
        EXPECT(!p, "new int[SIZE_MAX / 2] gave %p", (void *)p);
    } catch (const std::bad_alloc &) {
    }
    return finish();
}
