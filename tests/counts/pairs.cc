// One kind of call over and over, for counting its instructions: pairs KIND SIZE ROUNDS [threaded]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <pthread.h>

// The compiler must believe that somebody looks at the pointer.
static void look(void *p) { asm volatile("" : : "r"(p) : "memory"); }

static void *other(void *)
{
    void *p = malloc(32);
    look(p);
    free(p);
    return nullptr;
}

int main(int count, char **words)
{
    if (count < 4)
        return 2;
    const char *kind = words[1];
    size_t size = strtoul(words[2], nullptr, 10);
    long rounds = strtol(words[3], nullptr, 10);
    if (count > 4) {
        pthread_t thread;
        if (pthread_create(&thread, nullptr, other, nullptr) != 0 || pthread_join(thread, nullptr) != 0)
            return 1;
    }
    // Pointers near a page's start are looked at more closely; where the chunks of the loop lie is chance. Take up what lies
    // before the middle of a page.
    void *before;
    do {
        before = malloc(size);
        look(before);
    } while (size < 2048 && ((size_t)before & 4095) - 256 > 2048);
    if (strcmp(kind, "malloc") == 0) {
        for (long i = 0; i < rounds; i++) {
            void *p = malloc(size);
            look(p);
            free(p);
        }
    } else if (strcmp(kind, "calloc") == 0) {
        for (long i = 0; i < rounds; i++) {
            void *p = calloc(1, size);
            look(p);
            free(p);
        }
    } else if (strcmp(kind, "new") == 0) {
        for (long i = 0; i < rounds; i++) {
            void *p = ::operator new(size);
            look(p);
            ::operator delete(p, size);
        }
    } else if (strcmp(kind, "realloc") == 0) {
        // The first calls of a process take another path, and those of the loop would all be among them.
        for (long i = 0; i < 1000; i++) {
            void *q = malloc(size);
            look(q);
            free(q);
        }
        // There and back within the chunk: a round is two calls.
        void *p = malloc(size);
        for (long i = 0; i < rounds; i++) {
            p = realloc(p, size + 8);
            look(p);
            p = realloc(p, size);
            look(p);
        }
        free(p);
    } else if (strcmp(kind, "realloc of null") == 0) {
        // The compiler would make it a malloc if it knew.
        void *none = nullptr;
        for (long i = 0; i < rounds; i++) {
            look(&none);
            void *p = realloc(none, size);
            look(p);
            free(p);
        }
    } else {
        return 2;
    }
    return 0;
}
