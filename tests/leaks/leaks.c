/* Known leaks, each by a function of its own; what is lost is said behind it. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *volatile next;
    char rest[56];
};

/* What others may look at isn't optimised away. */
void *volatile reachable;
char *volatile inside;
void **volatile table;

__attribute__((noinline)) static void direct(void) {
    for (int i = 0; i < 10; i++) {
        void *volatile lost = malloc(100); /* 10 of 100 */
        (void)lost;
    }
}

__attribute__((noinline)) static struct node *list_node(struct node *next) {
    struct node *node = malloc(sizeof *node);
    node->next = next;
    return node;
}

/* A list of 5: one is lost, the others with it. */
__attribute__((noinline)) static void indirect(void) {
    struct node *volatile head = NULL;
    for (int i = 0; i < 5; i++)
        head = list_node(head);
    head = NULL;
}

/* A ring of 3. */
__attribute__((noinline)) static void cycle(void) {
    struct node *a = malloc(sizeof *a), *b = malloc(sizeof *b), *c = malloc(sizeof *c);
    a->next = b;
    b->next = c;
    c->next = a;
}

static void *thread(void *unused) {
    (void)unused;
    void *volatile lost = malloc(3000); /* in a thread */
    lost = NULL;
    (void)lost;
    return NULL;
}

__attribute__((noinline)) static void mapping(void) {
    void *volatile lost = malloc(1 << 20);
    memset(lost, 1, 4096);
    lost = NULL;
}

__attribute__((noinline)) static void library(const char *path) {
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    void (*leak)(void) = (void (*)(void))dlsym(handle, "leak_in_library");
    leak();
    dlclose(handle);
}

/* Overwrites what the calls before left on the stack. */
__attribute__((noinline)) static void wipe(void) {
    volatile char over[16384];
    memset((char *)over, 0, sizeof over);
}

int main(int argc, char **argv) {
    reachable = malloc(5000);
    inside = (char *)malloc(600) + 100;
    table = malloc(8 * sizeof *table);
    for (int i = 0; i < 8; i++)
        table[i] = malloc(40);
    direct();
    indirect();
    cycle();
    mapping();
    pthread_t id;
    pthread_create(&id, NULL, thread, NULL);
    pthread_join(id, NULL);
    if (argc > 1)
        library(argv[1]);
    wipe();
    if (argc > 2) {
        /* Nothing but a register leads to it while the process waits. */
        register char *only __asm__("r12") = malloc(9000);
        __asm__ volatile("" : "+r"(only));
        static const char ready[] = "ready\n";
        long done;
        __asm__ volatile("syscall" : "=a"(done) : "a"(1), "D"(1), "S"(ready), "d"(sizeof ready - 1), "r"(only) : "rcx", "r11", "memory");
        static char byte;
        __asm__ volatile("syscall" : "=a"(done) : "a"(0), "D"(0), "S"(&byte), "d"(1), "r"(only) : "rcx", "r11", "memory");
        __asm__ volatile("" : : "r"(only));
    }
    return 0;
}
