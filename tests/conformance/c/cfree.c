/* cfree is free under its old name, for programs that were linked long ago. */
#include "../expect.h"

void cfree(void *);

int main(void) {
    errno = 99;
    cfree(opaque(NULL));
    /* Were nothing freed, this would hold 400 MiB. */
    for (int i = 0; i < 4000; i++) {
        char *p = i % 2 ? malloc(100 * KIB) : calloc(1, 100 * KIB);
        NEED(p, "malloc");
        memset(p, 1, 100 * KIB);
        cfree(p);
        cfree(malloc(i));
    }
    EXPECT(errno == 99, "errno became %d", errno);
    EXPECT(resident() < 100 * MIB, "%zu KiB resident", resident() >> 10);
    return finish();
}
