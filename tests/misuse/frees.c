/* Pointers that must not be freed, resized or asked about: contract C1 and C2. */
#include "misuse.h"

static byte in_data[256] __attribute__((aligned(16))) = {1};
static byte in_bss[256] __attribute__((aligned(16)));
static const byte in_rodata[256] __attribute__((aligned(16))) = {2};

static void *frees(void *p) {
    free(p);
    return NULL;
}

static void fill_spare(void) {
    for (int i = 2; i < 16; i++) free(spare[i]);
}

static volatile int told;

static void *frees_when_told(void *p) {
    while (!told) usleep(1000);
    free(p);
    return NULL;
}

/* Frees p twice, with something in between. */
static void twice(byte *p) {
    about(p);
    if (is("double_in_other_thread")) {
        /* The thread is made before: making one allocates, and might be handed the very chunk. */
        pthread_t other;
        MUST(pthread_create(&other, NULL, frees_when_told, p) == 0, "a thread");
        free(p);
        now();
        told = 1;
        pthread_join(other, NULL);
        return;
    }
    if (is("double_after_other_thread"))
        in_thread(frees, p);
    else
        free(p);
    if (is("double_after_frees")) fill_spare();
    if (is("double_after_calls")) {
        /* Others of the same size come and go, but never this one: it was freed first and there are enough. */
        fill_spare();
        for (int i = 0; i < 50; i++) free(get(size + 4000));
    }
    now();
    free(p);
}

/* Frees p after its neighbour took it in: its header lies inside a larger free chunk, or in the top. */
static void twice_merged(void) {
    byte *a = get(size), *b = get(size), *c = get(size);
    byte *guard = is("double_in_top") ? NULL : get(64);
    about(b);
    if (is("double_merged_next")) free(a);
    free(b);
    if (is("double_merged_both")) free(a);
    free(c);
    fill_spare();
    now();
    free(b);
    (void)guard;
}

/* Frees p, then thousands of its neighbours, and p again; with a trim between, its page may be gone from memory. */
static void twice_among_many(void) {
    enum { COUNT = 20000 };
    static byte *others[COUNT];
    int count = size > 1000 ? COUNT / 100 : COUNT;
    byte *p = NULL;
    for (int i = 0; i < count; i++) {
        others[i] = get(size);
        if (i == count / 2) p = get(size);
    }
    /* Of the same size, so that it lies above them all: what they leave must not join the top and go. */
    void *guard = get(size), *second_guard = get(size);
    about(p);
    free(p);
    for (int i = 0; i < count; i++) free(others[i]);
    if (is("double_after_trim")) malloc_trim(0);
    now();
    free(p);
    (void)guard, (void)second_guard;
}

static void never_ours(void) {
    byte here[256] __attribute__((aligned(16)));
    memset(here, 0x21, sizeof here);
    byte *p = NULL;
    size_t page = sysconf(_SC_PAGESIZE);
    if (is("stack")) p = here + 64;
    if (is("data")) p = in_data + 64;
    if (is("bss")) p = in_bss + 64;
    if (is("rodata")) p = (byte *)in_rodata + 64;
    if (is("code")) p = (byte *)(((uintptr_t)&main + 15) & ~15ul);
    if (is("null_plus_8")) p = (byte *)8;
    if (is("null_plus_16")) p = (byte *)16;
    if (is("non_canonical")) p = (byte *)0xdead000000000000u;
    if (is("kernel")) p = (byte *)0xffff888000000000u;
    if (is("minus_16")) p = (byte *)-16l;
    if (is("unmapped") || is("foreign_mapping") || is("after_a_hole")) {
        p = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(p, 0, 4 * page);
        if (is("unmapped")) munmap(p, 4 * page);
        if (is("after_a_hole")) {
            munmap(p, page);
            p += page;
        } else {
            p += 16;
        }
    }
    if (is("no_access")) p = (byte *)mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 16;
    if (is("other_allocator")) {
        void *(*theirs)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_malloc");
        p = theirs ? theirs(size) : here + 64;
    }
    MUST(p != NULL, "unknown kind %s", kind);
    about(p);
    now();
    free(p);
}

static void inside(void) {
    byte *p = get(size), *q = p;
    memset(p, 0x21, size);
    if (is("interior")) q = p + 16;
    if (is("interior_zero")) memset(q = p, 0, size), q += 16;
    if (is("interior_replayed")) memcpy(p, p - 16, 16), q = p + 16;
    if (is("misaligned_1")) q = p + 1;
    if (is("misaligned_8")) q = p + 8;
    if (is("before")) q = p - 16;
    if (is("end")) q = p + (malloc_usable_size(p) & ~15ul) - 16;
    about(q);
    now();
    free(q);
}

static void after_free(byte *p) {
    about(p);
    free(p);
    now();
    if (is("realloc_freed")) spare[2] = realloc(p, size * 2);
    if (is("realloc_freed_smaller")) spare[2] = realloc(p, size / 2);
    if (is("reallocarray_freed")) spare[2] = reallocarray(p, size, 2);
    if (is("usable_freed")) malloc_usable_size(p);
    if (is("free_sized_freed")) free_sized(p, size);
}

static void wrongly_sized(void) {
    byte *p = is("aligned_wrong_size") ? aligned_alloc(64, size) : get(size);
    about(p);
    now();
    if (is("sized_too_large")) free_sized(p, size * 10);
    if (is("sized_too_small")) free_sized(p, size / 4);
    if (is("aligned_wrong_size")) free_aligned_sized(p, 64, size * 10);
}

static void commit(void) {
    if (is("none")) {
        byte *p = get(size);
        about(p);
        now();
        free(p);
        free(NULL);
    } else if (!strncmp(kind, "double_merged", 13) || is("double_in_top")) {
        twice_merged();
    } else if (is("double_after_many") || is("double_after_trim")) {
        twice_among_many();
    } else if (!strncmp(kind, "double", 6)) {
        twice(get(size));
    } else if (!strncmp(kind, "interior", 8) || !strncmp(kind, "misaligned", 10) || is("before") || is("end")) {
        inside();
    } else if (strstr(kind, "_freed")) {
        after_free(get(size));
    } else if (strstr(kind, "sized") || is("aligned_wrong_size")) {
        wrongly_sized();
    } else {
        never_ours();
    }
}
