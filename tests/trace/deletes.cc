// Three threads, one after the other, that delete what another allocated, with its size, and allocate nothing themselves.
#include <cstdio>
#include <new>
#include <pthread.h>

static void *held[3][200];

static void *work(void *row) {
    for (void *each : held[(long)row]) ::operator delete(each, 40);
    return nullptr;
}

int main() {
    for (auto &row : held)
        for (auto &each : row) each = ::operator new(40);
    long count = 0;
    for (; count < 3; count++) {
        pthread_t thread;
        pthread_create(&thread, nullptr, work, (void *)count);
        pthread_join(thread, nullptr);
    }
    std::printf("%ld threads\n", count);
}
