/* Holds chunks in each state that there is, says where, and waits until its standard input ends. What it prints: the state, the
 * user pointer, the request. The states it is asked for depend on the mode:
 *   textbook    to be run with HEAPGLASS=tcache:0: fast, unsorted, small and large bins
 *   caches      parked, cached, in a depot; in use by a second arena
 *   damage      a header overwritten from the chunk below, by the bytes "AAAAAAAA"
 *   nul         the lowest byte of a header made zero
 *   secure      to be run with HEAPGLASS=secure: quarantined, and bins
 *   arenas      200 threads, to be run with HEAPGLASS=arena_max:300
 *   fork        a child beside a second thread of its parent; the child's id is told as an address
 *   link        a freed chunk's link overwritten (textbook)
 */

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char out[1 << 16];

static void say(const char *state, void *user, size_t request) {
    printf("%s %p %zu\n", state, user, request);
}

static void figures(void) {
    struct mallinfo2 info = mallinfo2();
    printf("arena 0x%zx 0\nfree 0x%zx %zu\nfast 0x%zx %zu\n", info.arena, info.fordblks - info.fsmblks, info.ordblks,
           info.fsmblks, info.smblks);
    printf("top 0x%zx 0\nmapped 0x%zx %zu\n", info.keepcost, info.hblkhd, info.hblks);
}

static void wait_for_the_end(void) {
    puts("ready");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
}

static void textbook(void) {
    char *mapped = malloc(300000);
    char *live = malloc(40);
    char *fast = malloc(56), *guard = malloc(24);
    char *small = malloc(600), *guard2 = malloc(24);
    char *large = malloc(5000), *guard3 = malloc(24);
    char *unsorted = malloc(700), *guard4 = malloc(24);
    free(small);
    free(large);
    /* Looks through the unsorted bin, and sorts. */
    char *longer = malloc(20000);
    free(unsorted);
    free(fast);
    say("Mapped", mapped, 300000);
    say("Live", live, 40);
    say("Live", longer, 20000);
    say("Fast", fast, 56);
    say("Small", small, 600);
    say("Large", large, 5000);
    say("Unsorted", unsorted, 700);
    (void)guard, (void)guard2, (void)guard3, (void)guard4;
}

static atomic_int there, over;

static void *second(void *unused) {
    (void)unused;
    char *theirs = malloc(100);
    say("Live", theirs, 100);
    atomic_store(&there, 1);
    while (!atomic_load(&over)) usleep(1000);
    free(theirs);
    return NULL;
}

static void caches(void) {
    static char *many[4000];
    /* Past the first calls of a process, which are taken exactly. */
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 4000; i++) many[i] = malloc(200);
        for (int i = 0; i < 4000; i++) free(many[i]);
    }
    char *one = malloc(120), *two = malloc(136), *cached = malloc(152);
    pthread_t thread;
    pthread_create(&thread, NULL, second, NULL);
    while (!atomic_load(&there)) usleep(1000);
    /* More than a cache holds, so that full magazines wait for other threads. */
    for (int i = 0; i < 1000; i++) many[i] = malloc(300);
    for (int i = 0; i < 1000; i++) free(many[i]);
    free(cached);
    free(one);
    free(two);
    say("Cached", cached, 152);
    say("Parked", one, 120);
    say("Parked", two, 136);
    wait_for_the_end();
    atomic_store(&over, 1);
    pthread_join(thread, NULL);
}

static void damage(char byte_only) {
    char *before = malloc(40), *victim = malloc(40), *after = malloc(40), *end = malloc(400);
    say("Live", before, 40);
    say("Damaged", victim, 40);
    say("Live", after, 40);
    say("Live", end, 400);
    if (byte_only)
        before[40] = 0;
    else
        memset(before + 40, 'A', 8);
}

static void broken_link(void) {
    char *one = malloc(600), *guard = malloc(24), *two = malloc(600), *guard2 = malloc(24);
    free(one);
    free(two);
    *(char **)two = (char *)0x4141414141414141;
    say("Unsorted", one, 600);
    (void)guard, (void)guard2;
}

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void *seated(void *unused) {
    (void)unused;
    pthread_mutex_lock(&one_at_a_time);
    say("Live", malloc(100), 100);
    pthread_mutex_unlock(&one_at_a_time);
    atomic_fetch_add(&there, 1);
    while (!atomic_load(&over)) usleep(100000);
    return NULL;
}

static void arenas(void) {
    pthread_t thread;
    for (int i = 0; i < 200; i++) pthread_create(&thread, NULL, seated, NULL);
    while (atomic_load(&there) < 200) usleep(1000);
}

static void forked(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, seated, NULL);
    while (!atomic_load(&there)) usleep(1000);
    if (fork() == 0) {
        char *mine = malloc(100);
        say("Live", mine, 100);
        say("Child", (void *)(long)getpid(), 0);
        return;
    }
    wait(NULL);
    _exit(0);
}

static void secure(void) {
    static char *some[20];
    for (int i = 0; i < 20; i++) some[i] = malloc(60000);
    for (int i = 0; i < 20; i += 2) free(some[i]);
    malloc_trim(0);
    char *last = malloc(100);
    free(last);
    say("Quarantined", last, 100);
    say("Live", some[1], 60000);
}

int main(int argc, char **argv) {
    setvbuf(stdout, out, _IOFBF, sizeof out);
    const char *mode = argc > 1 ? argv[1] : "";
    if (!strcmp(mode, "textbook")) textbook();
    if (!strcmp(mode, "caches")) {
        caches();
        return 0;
    }
    if (!strcmp(mode, "fork")) forked();
    if (!strcmp(mode, "arenas")) arenas();
    if (!strcmp(mode, "secure")) secure();
    if (!strcmp(mode, "damage")) damage(0);
    if (!strcmp(mode, "nul")) damage(1);
    if (!strcmp(mode, "link")) broken_link();
    if (!strcmp(mode, "abort")) {
        textbook();
        fflush(stdout);
        abort();
    }
    figures();
    wait_for_the_end();
    /* Damage isn't to be met again at the end. */
    _exit(0);
}
