/* M_TOP_PAD is what the break is moved further than the request needs. */
#include "../expect.h"
#include <malloc.h>

/* By how much the break moves when it next has to. */
static size_t one_step(void) {
    char *before = sbrk(0), *now = before;
    for (int i = 0; i < 100000 && now == before; i++) {
        NEED(malloc(1000), "malloc");
        now = sbrk(0);
    }
    return now - before;
}

int main(void) {
    NEED(malloc(1), "malloc");
    size_t step = one_step();
    EXPECT(step >= 128 * KIB && step < 256 * KIB, "at the start a step is %zu", step);
    EXPECT(mallopt(M_TOP_PAD, 4 << 20) == 1, "mallopt");
    one_step();
    step = one_step();
    EXPECT(step >= 4 * MIB && step <= 4 * MIB + 64 * KIB, "with 4 MiB a step is %zu", step);
    EXPECT(mallopt(M_TOP_PAD, 512 << 10) == 1, "mallopt");
    one_step();
    step = one_step();
    EXPECT(step >= 512 * KIB && step <= 576 * KIB, "with 512 KiB a step is %zu", step);
    return finish();
}
