/* Four threads that allocate and free without an end, and one that waits for nothing; until standard input is closed. At the end, how
 * often the waits were interrupted. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static volatile int stop;
static int interrupted;

static void *work(void *number) {
    void *held[64] = {0};
    unsigned state = (unsigned)(long)number + 1;
    while (!stop) {
        state = state * 1103515245 + 12345;
        int k = (state >> 16) & 63;
        free(held[k]);
        held[k] = malloc((state >> 8) % 2000 + 1);
        if (!(state & 0xfff0)) usleep(10);
    }
    for (int k = 0; k < 64; k++) free(held[k]);
    return NULL;
}

/* The kernel's way to wait that comes back from any stop unless it is called anew. */
static void *waits(void *none) {
    int queue = epoll_create1(0);
    struct epoll_event event;
    while (!stop)
        if (epoll_wait(queue, &event, 1, 500) < 0 && errno == EINTR) interrupted++;
    return none;
}

int main(void) {
    pthread_t all[5];
    for (long i = 0; i < 4; i++) pthread_create(&all[i], NULL, work, (void *)i);
    pthread_create(&all[4], NULL, waits, NULL);
    printf("begun\n");
    fflush(stdout);
    char letter;
    if (read(0, &letter, 1) < 0) interrupted++;
    stop = 1;
    for (int i = 0; i < 5; i++) pthread_join(all[i], NULL);
    printf("interrupted %d times\n", interrupted);
    return 0;
}
