/* More than 4 GiB freed: two free neighbours that together are longer than a header can say don't merge, and once they
 * stayed where they were when the top came down to them. Only the headers are touched.
 * The argument is the order: `forward`, `backward`, `thirds`. */
#include "../contract/hg.h"

enum { COUNT = 180, TURN = 136 };
#define PIECE ((30u << 20) - 8)

int main(int argc, char **argv) {
    MUST(argc == 2);
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    static void *p[COUNT];
    /* The first ones come to almost the longest chunk there may be; one more doesn't fit. */
    for (int i = 0; i < COUNT; i++) p[i] = get(i == TURN ? 16377200 : PIECE);
    size_t before = mallinfo2().arena;
    MUST(before > (size_t)5 << 30, "%zu bytes", before);
    if (!strcmp(argv[1], "forward"))
        for (int i = 0; i < COUNT; i++) free(p[i]);
    else if (!strcmp(argv[1], "backward"))
        for (int i = COUNT - 1; i >= 0; i--) free(p[i]);
    else
        for (int k = 0; k < 3; k++)
            for (int i = k; i < COUNT; i += 3) free(p[i]);
    must_be_sound();
    /* The next call that works on the heap finds it all in the top, and that goes back to the kernel. */
    free(get(3000));
    must_be_sound();
    struct mallinfo2 m = mallinfo2();
    MUST(m.ordblks == 1 && m.arena < 1 << 20, "%zu free chunks, %zu bytes, top %zu", m.ordblks, m.arena, m.keepcost);
    return 0;
}
