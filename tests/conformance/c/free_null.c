/* free(NULL) does nothing, also as the very first call of the process, and keeps errno. */
#include "../expect.h"

static int first_errno;

__attribute__((constructor(101))) static void first(void) {
    errno = 77;
    free(opaque(NULL));
    first_errno = errno;
}

int main(void) {
    EXPECT(first_errno == 77, "errno %d after the first free", first_errno);
    for (int i = 0; i < 1000; i++) {
        errno = 78;
        free(opaque(NULL));
        EXPECT(errno == 78, "errno %d", errno);
    }
    char *p = malloc(10);
    NEED(p, "malloc(10)");
    free(opaque(NULL));
    free(p);
    return finish();
}
