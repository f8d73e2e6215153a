/* Allocation where little is set up yet, or much is gone already: constructors, atexit, destructors of thread-locals, each
 * with threads at work. What one stage took, a later one frees. */
#include "../contract/hg.h"

extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;

enum { KEPT = 512 };
static byte *kept[KEPT];
static int stage_marks;

static void churn(unsigned seed, int rounds) {
    for (int i = 0; i < rounds; i++) {
        seed = seed * 1103515245 + 12345;
        byte *p = get(1 + (seed >> 8) % (i % 20 ? 600 : 90000));
        p[0] = 1;
        free(__atomic_exchange_n(&kept[seed >> 4 & (KEPT - 1)], p, __ATOMIC_ACQ_REL));
    }
}

static pthread_key_t key;
static __thread byte *local;

static void local_gone(void *unused) {
    churn(5, 30);
    free(local);
    local = get(100);
    free(local);
    churn(6, 30);
}

static void key_gone(void *round) {
    churn(7, 30);
    if ((uintptr_t)round < 4) pthread_setspecific(key, (void *)((uintptr_t)round + 1));
}

static void *life(void *seed) {
    churn((uintptr_t)seed, 100);
    local = get(50);
    __cxa_thread_atexit_impl(local_gone, NULL, &__dso_handle);
    pthread_setspecific(key, (void *)1);
    churn((uintptr_t)seed, 100);
    return NULL;
}

static void threads(int count) {
    pthread_t t[8];
    for (int i = 0; i < count; i += 8) {
        for (int k = 0; k < 8; k++) MUST(pthread_create(&t[k], NULL, life, (void *)(uintptr_t)(i + k)) == 0);
        churn(i, 50);
        for (int k = 0; k < 8; k++) pthread_join(t[k], NULL);
    }
}

static void at_exit(void) {
    threads(80);
    churn(8, 100);
    must_be_sound();
    stage_marks |= 4;
}

__attribute__((constructor(101))) static void very_early(void) {
    pthread_key_create(&key, key_gone);
    churn(1, 100);
    threads(80);
    atexit(at_exit);
    stage_marks |= 1;
}

__attribute__((constructor)) static void early(void) {
    churn(2, 100);
    threads(80);
    stage_marks |= 2;
}

__attribute__((destructor)) static void late(void) {
    MUST(stage_marks == 7, "%d", stage_marks);
    threads(40);
    churn(9, 100);
    must_be_sound();
}

__attribute__((destructor(101))) static void very_late(void) {
    churn(10, 100);
    for (int i = 0; i < KEPT; i++) free(kept[i]);
    must_be_sound();
    say("ended well");
}

int main(void) {
    threads(400);
    __cxa_thread_atexit_impl(local_gone, NULL, &__dso_handle);
    pthread_setspecific(key, (void *)1);
    must_be_sound();
    return 0;
}
