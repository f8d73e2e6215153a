/* Started with 64 MiB of address space: four threads must find a megabyte each. Arenas may not insist on large reserves. */
#include "../contract/hg.h"

static void *life(void *unused) {
    for (int round = 0; round < 50; round++) {
        byte *p[250];
        for (int i = 0; i < 250; i++) memset(p[i] = get(4000), i, 4000);
        for (int i = 0; i < 250; i++) {
            MUST(p[i][0] == (byte)i && p[i][3999] == (byte)i);
            free(p[i]);
        }
    }
    return unused;
}

int main(void) {
    pthread_t t[4];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 1 << 18);
    for (int i = 0; i < 4; i++) MUST(pthread_create(&t[i], &attr, life, NULL) == 0);
    life(NULL);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    must_be_sound();
    return 0;
}
