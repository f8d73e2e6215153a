// Destructors of C++ thread-locals may allocate and free, in threads and in the main thread after main.
#include "../expect.h"
#include <pthread.h>
#include <string>
#include <thread>
#include <vector>

static int destroyed;

struct holder {
    std::vector<std::string> texts;
    char *raw = nullptr;
    ~holder() {
        for (auto &text : texts) EXPECT(text.size() >= 100 && text[50] == 't', "a text of the thread changed");
        std::vector<std::string> more;
        for (int i = 0; i < 200; i++) more.emplace_back(i * 20, 'm');
        texts.clear();
        free(raw);
        raw = (char *)malloc(70000);
        EXPECT(raw, "malloc in a destructor");
        memset(raw, 1, 70000);
        free(raw);
        __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
    }
};

thread_local holder one;

// Built by the destructor of another thread-local, and destroyed after it.
thread_local holder late;

struct starter {
    ~starter() {
        late.texts.emplace_back(300, 't');
        late.raw = (char *)calloc(3, 100);
        __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
    }
};

thread_local starter two;

// Destroyed after all thread-locals of the main thread.
struct teller {
    ~teller() {
        EXPECT(destroyed == 3 * 801, "%d of %d thread-locals were destroyed", destroyed, 3 * 801);
        int failed = finish();
        if (failed) _exit(1);
    }
} teller;

static void use() {
    for (int i = 0; i < 50; i++) one.texts.emplace_back(100 + 10 * i, 't');
    one.raw = (char *)malloc(200000);
    memset(one.raw, 1, 200000);
    // The address is needed, or a thread-local that nobody uses isn't made.
    __asm__ volatile("" : : "r"(&two) : "memory");
}

int main() {
    use();
    for (int round = 0; round < 100; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; i++) threads.emplace_back(use);
        for (auto &thread : threads) thread.join();
    }
    return 0;
}
