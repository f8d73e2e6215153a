/* Says "ready" and allocates until its standard input ends. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEPT 2048

static atomic_int over;
static void *volatile kept[KEPT];

__attribute__((noinline)) static void *request(void) {
    return malloc(3000); /* request */
}

static void *serve(void *unused) {
    (void)unused;
    for (int i = 0; !over; i++) {
        free(kept[i % KEPT]);
        kept[i % KEPT] = request(); /* serve */
        if (i % 64 == 0)
            usleep(1000);
    }
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, serve, NULL);
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    over = 1;
    pthread_join(thread, NULL);
    return 0;
}
