/* A11: a thousand threads one after another share what the ended ones left: few arenas, few mappings. */
#include "hg.h"

static void *short_life(void *unused) {
    void *p[50];
    for (int i = 0; i < 50; i++) p[i] = get(20 + 37 * i);
    for (int i = 0; i < 50; i++) free(p[i]);
    return unused;
}

int main(void) {
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    get(32);
    for (int i = 0; i < 10; i++) in_thread(short_life, NULL);
    int before = mappings();
    size_t resident_before = resident();
    for (int i = 0; i < 1000; i++) in_thread(short_life, NULL);
    MUST(mappings() <= before + 4, "%d mappings, %d before", mappings(), before);
    MUST(resident() < resident_before + (4u << 20), "%zu, %zu before", resident(), resident_before);
    must_be_sound();
    malloc_info(0, stdout);
    fflush(stdout);
    return 0;
}
