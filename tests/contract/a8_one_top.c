/* A8: freed in any order, every heap is one top chunk again. The argument is the order. */
#include "hg.h"

enum { COUNT = 4000 };
static byte *p[COUNT];

static void *life(void *order_name) {
    const char *order = order_name;
    for (int i = 0; i < COUNT; i++) p[i] = get(next_random() % (i % 11 ? 400 : i % 33 ? 9000 : 80000));
    if (!strcmp(order, "reverse"))
        for (int i = 0; i < COUNT / 2; i++) {
            byte *t = p[i];
            p[i] = p[COUNT - 1 - i];
            p[COUNT - 1 - i] = t;
        }
    if (!strcmp(order, "random"))
        for (int i = COUNT - 1; i > 0; i--) {
            int j = next_random() % (i + 1);
            byte *t = p[i];
            p[i] = p[j];
            p[j] = t;
        }
    for (int i = 0; i < COUNT; i++) {
        free(p[i]);
        if (i % 200 == 0) must_be_sound();
    }
    malloc_trim(0);
    must_be_sound();
    return NULL;
}

int main(int argc, char **argv) {
    int spare = on_heapglass() ? 0 : 1; /* glibc keeps its cache's own chunk at the heap's start */
    size_t used = mallinfo2().uordblks;
    for (int round = 0; round < 3; round++) {
        life(argv[1]);
        struct walked w = walk(0);
        MUST(w.chunks <= 1 + spare && w.binned == 0, "%d chunks, %d of them free", w.chunks, w.binned);
        MUST(mallinfo2().uordblks <= used + spare * 0x290, "%zu in use, %zu before", mallinfo2().uordblks, used);
    }
    /* The same in another thread's arena, seen by the checker and the figures. */
    in_thread(life, argc > 1 ? argv[1] : "");
    malloc_trim(0);
    must_be_sound();
    struct mallinfo2 info = mallinfo2();
    if (on_heapglass()) MUST(info.uordblks <= used + 2048, "%zu in use, %zu before", info.uordblks, used);
    return 0;
}
