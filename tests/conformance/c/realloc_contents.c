/* realloc keeps the contents up to the smaller of both sizes, across every change of place: small, large, mapped. */
#include "../expect.h"

static const size_t SIZES[] = {
    1,     8,      24,     25,     40,     100,    128,    136,     1000,    1024,     1032,     1033,    1040,
    4000,  8000,   16000,  32768,  40000,  65536,  70000,  100000,  131047,  131056,   131071,   131072,  131073,
    135168, 200000, 262144, 500000, 1 << 20, 3 << 20, 5000000, 20 << 20, 33 << 20, 34000000, 40000000,
};

static void step(char **p, size_t *n, size_t seed, size_t to) {
    char *q = realloc(*p, to);
    NEED(q, "realloc of %zu bytes to %zu", *n, to);
    size_t kept = *n < to ? *n : to;
    size_t good = intact(q, seed, kept);
    EXPECT(good == kept, "%zu bytes to %zu: byte %zu is lost", *n, to, good);
    fill(q, seed, kept, to);
    *p = q;
    *n = to;
}

int main(void) {
    for (size_t i = 0; i < COUNT(SIZES); i++)
        for (size_t k = 0; k < COUNT(SIZES); k++) {
            /* Of the giants only the neighbours: they cost much and say little. */
            if (SIZES[i] + SIZES[k] > 24000000 && i + 1 != k) continue;
            size_t n = SIZES[i];
            char *p = malloc(n);
            NEED(p, "malloc(%zu)", n);
            fill(p, i, 0, n);
            /* A neighbour behind it, so that growth in place isn't always to be had. */
            void *behind = (i + k) % 2 ? malloc(32) : NULL;
            step(&p, &n, i, SIZES[k]);
            step(&p, &n, i, SIZES[i]);
            free(behind);
            free(p);
        }

    enum { SLOTS = 24 };
    char *slot[SLOTS] = {0};
    size_t size[SLOTS] = {0};
    uint64_t random = 0x1234567;
    for (int i = 0; i < 20000; i++) {
        int s = next_random(&random) % SLOTS;
        size_t shift = next_random(&random) % 16;
        size_t to = 1 + next_random(&random) % ((size_t)32 << shift);
        if (to > 400000) continue;
        step(&slot[s], &size[s], s, to);
    }
    for (int s = 0; s < SLOTS; s++) {
        EXPECT(intact(slot[s], s, size[s]) == size[s], "slot %d was overwritten by another block", s);
        free(slot[s]);
    }
    return finish();
}
