// Threads that each make the same calls of their own: threads.cc COUNT. Each is told by a size that only it asks for.
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

int main(int argc, char **argv) {
    long count = argc > 1 ? atol(argv[1]) : 100;
    std::vector<std::thread> all;
    for (long number = 0; number < 4; number++) {
        all.emplace_back([=] {
            size_t size = 5001 + 16 * number;
            for (long i = 0; i < count; i++) {
                void *p = ::operator new(size);
                char *q = new char[size + 1000];
                q[0] = 0;
                ::operator delete(p, size);
                delete[] q;
            }
        });
    }
    for (auto &one : all) one.join();
    puts("done");
}
