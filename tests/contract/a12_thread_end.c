/* A12: what an ended thread had cached comes back, whatever ran after its cache was given up. */
#include "hg.h"

static pthread_key_t key;
static byte *theirs[1000];

/* Runs at thread exit, three rounds long, and goes on allocating and freeing in each of them. */
static void late(void *round) {
    void *p[40];
    for (int i = 0; i < 40; i++) p[i] = get(100 + 16 * i);
    for (int i = 0; i < 40; i++) free(p[i]);
    if ((uintptr_t)round < 3) pthread_setspecific(key, (void *)((uintptr_t)round + 1));
}

static void *frees_its_own(void *with_destructor) {
    for (int i = 0; i < 1000; i++) theirs[i] = get(16 + i);
    for (int i = 0; i < 1000; i++) free(theirs[i]);
    if (with_destructor) pthread_setspecific(key, (void *)1);
    return NULL;
}

static void *frees_mine(void *with_destructor) {
    for (int i = 0; i < 1000; i++) free(theirs[i]);
    if (with_destructor) pthread_setspecific(key, (void *)1);
    return NULL;
}

static void came_back(size_t before, const char *what) {
    malloc_trim(0);
    must_be_sound();
    size_t now = mallinfo2().uordblks;
    MUST(now <= before + 1024, "%s: %zu bytes in use, %zu before", what, now, before);
}

int main(void) {
    pthread_key_create(&key, late);
    /* What threads themselves need (their dtv and the like) is there after the first. */
    in_thread(frees_its_own, &key);
    malloc_trim(0);
    size_t before = mallinfo2().uordblks;
    for (int round = 0; round < 20; round++) {
        in_thread(frees_its_own, NULL);
        came_back(before, "its own");
        in_thread(frees_its_own, &key);
        came_back(before, "its own, and a destructor");
        for (int i = 0; i < 1000; i++) theirs[i] = get(16 + i);
        in_thread(frees_mine, round % 2 ? &key : NULL);
        came_back(before, "the main thread's");
    }
    return 0;
}
