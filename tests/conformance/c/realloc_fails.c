/* A realloc that can't be served returns null with ENOMEM, and the block stays: readable, resizable, freeable. */
#include "../expect.h"
#include <sys/resource.h>

int main(void) {
    size_t sizes[] = {10, 1000, 50000, 100000, 200000, 4 * MIB};
    char *block[COUNT(sizes)];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        block[i] = malloc(sizes[i]);
        NEED(block[i], "malloc(%zu)", sizes[i]);
        fill(block[i], i, 0, sizes[i]);
    }
    struct rlimit limit = {1000 * MIB, 1000 * MIB};
    NEED(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit: %s", strerror(errno));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        errno = 0;
        void *got = realloc(block[i], unknown(2000 * MIB));
        EXPECT(!got && errno == ENOMEM, "%zu bytes to 2 GB under a limit: %p, errno %d", sizes[i], got, errno);
        EXPECT(intact(block[i], i, sizes[i]) == sizes[i], "the block of %zu bytes was changed", sizes[i]);
        char *more = realloc(block[i], sizes[i] + 1000);
        NEED(more, "a small growth after a refused one");
        EXPECT(intact(more, i, sizes[i]) == sizes[i], "the block of %zu bytes was lost on growth", sizes[i]);
        free(more);
    }
    return finish();
}
