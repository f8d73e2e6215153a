/* A heap that became empty was kept as a spare one, then used again from its start, shorter than before, and trimmed. What lay
 * behind the end that it had then counted as fresh from the kernel, and calloc handed it out as zero. */
#include "../contract/hg.h"

enum { SIZE = 100000, MOST = 4000 };
static byte *held[MOST];

/* Heaps begin at multiples of 64 MiB. */
static uintptr_t heap_of(const void *p) { return (uintptr_t)p >> 26; }

static byte *dirty(void) {
    byte *p = get(SIZE);
    memset(p, 0xaa, SIZE);
    return p;
}

static void *life(void *unused) {
    int count = 0, looked = 0;
    byte *first = held[count++] = dirty();
    while (heap_of(held[count - 1]) == heap_of(first)) {
        MUST(count < MOST, "the first heap has no end");
        held[count++] = dirty();
    }
    byte *last = held[--count];
    for (int i = 0; i < count; i++) free(held[i]);
    for (count = 0; heap_of(last) != heap_of(first);) {
        MUST(count < MOST, "the first heap isn't used again");
        held[count++] = last;
        last = dirty();
    }
    free(last);
    malloc_trim(0);
    for (; looked < 50 && count < MOST; looked++) {
        byte *p = calloc(1, SIZE);
        MUST(p && heap_of(p) == heap_of(first), "%p", p);
        for (int i = 0; i < SIZE; i++) MUST(p[i] == 0, "byte %d of chunk %d is %#x", i, looked, p[i]);
        held[count++] = p;
    }
    for (int i = 0; i < count; i++) free(held[i]);
    return unused;
}

int main(void) {
    free(get(1)); /* the main arena is this thread's */
    in_thread(life, NULL);
    must_be_sound();
    return 0;
}
