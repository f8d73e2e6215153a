/* calloc fails with ENOMEM when count times size doesn't fit, wherever the product wraps to. */
#include "../expect.h"

int main(void) {
    size_t half = (size_t)1 << 32;
    struct { size_t count, size; } wraps[] = {
        {half, half},         {half, half + 1},           {half + 1, half + 1},          {SIZE_MAX, 2},
        {2, SIZE_MAX},        {SIZE_MAX / 2 + 1, 2},      {2, SIZE_MAX / 2 + 1},         {SIZE_MAX, SIZE_MAX},
        {SIZE_MAX / 16 + 2, 16}, {16, SIZE_MAX / 16 + 2}, {SIZE_MAX / 3 + 1, 3},         {3, SIZE_MAX / 3 + 1},
        {SIZE_MAX / 100 + 1, 100}, {100, SIZE_MAX / 100 + 1},
    };
    for (size_t i = 0; i < COUNT(wraps); i++) {
        errno = 0;
        void *p = calloc(unknown(wraps[i].count), unknown(wraps[i].size));
        EXPECT(!p && errno == ENOMEM, "calloc(%zx, %zx) gave %p, errno %d", wraps[i].count, wraps[i].size, p, errno);
    }
    /* And what only looks large isn't refused. */
    void *p = calloc(unknown(0), unknown(SIZE_MAX));
    EXPECT(p, "calloc(0, SIZE_MAX)");
    free(p);
    p = calloc(unknown(SIZE_MAX), unknown(0));
    EXPECT(p, "calloc(SIZE_MAX, 0)");
    free(p);
    return finish();
}
