/* Twenty thousand threads born and dead, a few at a time. Each hands its objects on and frees those of threads long dead. */
#include "../contract/hg.h"

enum { TABLE = 4096, AT_ONCE = 8, EACH = 40 };
static byte *table[TABLE];

static void *life(void *number) {
    uint64_t seed = (uintptr_t)number * 2654435761u + 1;
    for (int i = 0; i < EACH; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t n = 16 + (seed >> 33) % (i % 10 ? 500 : 20000);
        byte *p = get(n);
        *(size_t *)p = n;
        p[n - 1] = (byte)n;
        byte *old = __atomic_exchange_n(&table[seed >> 48 & (TABLE - 1)], p, __ATOMIC_ACQ_REL);
        if (old) {
            size_t m = *(size_t *)old;
            MUST(old[m - 1] == (byte)m, "an object of a dead thread was overwritten");
            free(old);
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    int count = atoi(argv[1]);
    size_t settled = 0;
    int settled_mappings = 0;
    for (int i = 0; i < count; i += AT_ONCE) {
        pthread_t t[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++) MUST(pthread_create(&t[k], NULL, life, (void *)(uintptr_t)(i + k)) == 0);
        for (int k = 0; k < AT_ONCE; k++) pthread_join(t[k], NULL);
        if (i / AT_ONCE == count / AT_ONCE / 5) {
            settled = resident();
            settled_mappings = mappings();
        }
    }
    MUST(resident() < settled * 3 / 2 + (8u << 20), "%zu bytes resident, %zu after a fifth", resident(), settled);
    MUST(mappings() < settled_mappings * 3 / 2 + 50, "%d mappings, %d after a fifth", mappings(), settled_mappings);
    must_be_sound();
    for (int i = 0; i < TABLE; i++) free(table[i]);
    malloc_trim(0);
    must_be_sound();
    return 0;
}
