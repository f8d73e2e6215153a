/* Blocks keep their contents while threads allocate, resize and free each other's. */
#include "../expect.h"
#include <malloc.h>
#include <pthread.h>

enum { THREADS = 4, SLOTS = 500, STEPS = 60000 };

/* A slot is emptied and filled with one exchange, so that a block is always one thread's. */
static void *slot[SLOTS];

/* Every block carries its own size and seed in front, and the pattern behind. */
struct block {
    size_t size;
    size_t seed;
    unsigned char bytes[];
};

static void verify(struct block *b) {
    size_t n = b->size - sizeof *b;
    EXPECT(intact(b->bytes, b->seed, n) == n, "a block of %zu: byte %zu changed", b->size, intact(b->bytes, b->seed, n));
}

static struct block *make(uint64_t *random) {
    size_t size = sizeof(struct block) + next_random(random) % ((size_t)16 << (next_random(random) % 9));
    if (next_random(random) % 2000 == 0) size += 200000;
    size_t alignment = (size_t)16 << (next_random(random) % 5);
    struct block *b;
    switch (next_random(random) % 4) {
    case 0: b = calloc(1, size); NEED(b && zeroes(b, size) == size, "calloc(%zu)", size); break;
    case 1: b = memalign(alignment, size); NEED(b && aligned(b, alignment), "memalign(%zu, %zu)", alignment, size); break;
    default: b = malloc(size); NEED(b, "malloc(%zu)", size);
    }
    b->size = size;
    b->seed = next_random(random);
    fill(b->bytes, b->seed, 0, size - sizeof *b);
    return b;
}

static struct block *resize(struct block *b, uint64_t *random) {
    size_t old = b->size, size = sizeof *b + next_random(random) % (2 * old);
    struct block *now = realloc(b, size);
    NEED(now, "realloc(%zu)", size);
    size_t kept = (old < size ? old : size) - sizeof *b;
    EXPECT(intact(now->bytes, now->seed, kept) == kept, "%zu bytes to %zu: contents lost", old, size);
    now->size = size;
    fill(now->bytes, now->seed, kept, size - sizeof *b);
    return now;
}

static void *work(void *number) {
    uint64_t random = 0x9e3779b97f4a7c15u * ((uintptr_t)number + 1);
    for (int i = 0; i < STEPS; i++) {
        size_t s = next_random(&random) % SLOTS;
        struct block *b = __atomic_exchange_n(&slot[s], NULL, __ATOMIC_ACQ_REL);
        if (b) verify(b);
        if (b && next_random(&random) % 4 == 0) b = resize(b, &random);
        else if (b) free(b), b = NULL;
        if (!b) b = make(&random);
        b = __atomic_exchange_n(&slot[s], b, __ATOMIC_ACQ_REL);
        if (b) verify(b), free(b);
    }
    return NULL;
}

int main(void) {
    for (int round = 0; round < 3; round++) {
        pthread_t thread[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            NEED(pthread_create(&thread[i], NULL, work, (void *)(i + 10 * round)) == 0, "pthread_create");
        for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    }
    for (int s = 0; s < SLOTS; s++) {
        if (slot[s]) verify(slot[s]);
        free(slot[s]);
    }
    return finish();
}
