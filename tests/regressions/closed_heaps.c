/* A thread's arena fills several heaps and frees all of it: every heap but the last goes back to the kernel, whatever the
 * order. Once the closed ones stayed. The argument is the order: `forward`, `backward`, `random`. */
#include "../contract/hg.h"

enum { COUNT = 2000, LENGTH = 100000 }; /* longer than what a cache takes */
static byte *p[COUNT];
static const char *order;

static void *life(void *unused) {
    size_t before = resident();
    for (int i = 0; i < COUNT; i++) memset(p[i] = get(LENGTH), 1, LENGTH);
    MUST(chunk_flags(p[0]) & A, "not an arena of its own");
    MUST(mallinfo2().arena > (size_t)COUNT * LENGTH);
    for (int i = COUNT - 1; i > 0 && !strcmp(order, "random"); i--) {
        int j = next_random() % (i + 1);
        byte *swap = p[i];
        p[i] = p[j], p[j] = swap;
    }
    for (int i = 0; i < COUNT; i++) free(p[!strcmp(order, "backward") ? COUNT - 1 - i : i]);
    free(get(110000));
    struct mallinfo2 m = mallinfo2();
    MUST(m.arena < 8u << 20, "%s: %zu bytes of heaps", order, m.arena);
    MUST(resident() < before + (32u << 20), "%s: %zu bytes resident, %zu before", order, resident(), before);
    must_be_sound();
    return unused;
}

int main(int argc, char **argv) {
    MUST(argc == 2);
    order = argv[1];
    in_thread(life, NULL);
    must_be_sound();
    return 0;
}
