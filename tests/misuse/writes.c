/* Writes where the program has no business: over headers, links and sizes. Contract C3 and C4. */
#include "misuse.h"

enum { WILD = 0x41 };

/* Two chunks that border on each other. */
static byte *pair[2];

static void find_pair(void) {
    void *other[1000];
    byte *last = get(size);
    for (int i = 0; i < 1000; i++) {
        byte *p = get(size);
        if (next_chunk(last) == p) {
            pair[0] = last;
            pair[1] = p;
            return;
        }
        last = p;
    }
    MUST(0, "no two chunks of %zu bytes border on each other", size);
    (void)other;
}

/* A chunk in a bin with a guard on both sides, made by merging where the size itself would be cached. */
static byte *binned(void) {
    byte *p;
    for (int i = 0; i < 100; i++) {
        get(64);
        p = get(size);
        byte *guard = get(size);
        if (next_chunk(p) != guard) continue;
        free(p);
        for (int k = 8; k < 16; k++) {
            free(spare[k]);
            spare[k] = get(64);
        }
        if (is_binned(p)) return p;
    }
    MUST(0, "no chunk of %zu bytes goes to a bin", size);
}

static void about_all(byte *a, byte *b) {
    about(a);
    about(b);
}

static void overflow(void) {
    find_pair();
    byte *a = pair[0], *b = pair[1], *border = b - 8;
    about_all(a, b);
    memset(a, WILD, size);
    if (!strncmp(kind, "nul", 3)) *border = 0;
    if (!strncmp(kind, "over16", 6)) memset(border, WILD, 16);
    /* Not the byte that is there already: that would change nothing. */
    if (!strncmp(kind, "over1_", 6)) *border = *border == WILD ? WILD + 1 : WILD;
    if (!strncmp(kind, "over8_zero", 10)) memset(border, 0, 8);
    now();
    if (strstr(kind, "_victim")) free(b);
    if (strstr(kind, "_realloc")) spare[2] = realloc(b, size * 3);
    if (strstr(kind, "_grow")) {
        spare[2] = realloc(a, size * 3);
        free(b);
    }
    if (strstr(kind, "_neighbour")) {
        free(a);
        free(b);
    }
}

/* underN: N bytes before the start. */
static void underflow(void) {
    byte *p = get(size);
    size_t n = strtoul(kind + 5, NULL, 10);
    about(p);
    memset(p - n, strstr(kind, "ff") ? 0xFF : WILD, n);
    now();
    if (strstr(kind, "realloc"))
        spare[2] = realloc(p, size * 3);
    else
        free(p);
}

/* The header of a live chunk says another size that a chunk can have. */
static void plausible(void) {
    byte *p = get(size);
    uint32_t *word = (uint32_t *)p - 1;
    about(p);
    if (is("live_size_up")) *word += 16;
    if (is("live_size_down")) *word -= 16;
    if (is("mapped_length_up")) ((uint64_t *)p)[-2] += 4096;
    if (is("mapped_length_down")) ((uint64_t *)p)[-2] -= 4096;
    now();
    free(p);
}

static void spoil_free(void) {
    static uintptr_t trap[16] __attribute__((aligned(16)));
    byte *p = binned();
    uintptr_t *links = (uintptr_t *)p;
    uint32_t *word = (uint32_t *)p - 1;
    byte *next = next_chunk(p);
    about_all(p, next);
    about_all(p - 16, next - 16);
    uintptr_t with = strstr(kind, "wild") ? 0x4141414141414141u : strstr(kind, "null") ? 0 : (uintptr_t)trap;
    if (!strncmp(kind, "fd", 2)) links[0] = with;
    if (!strncmp(kind, "bk", 2)) links[1] = with;
    if (!strncmp(kind, "size_up", 7)) *word += 0x1000;
    if (!strncmp(kind, "size_down", 9)) *word -= 0x1000;
    if (!strncmp(kind, "size_wild", 9)) *word = 0x41414141;
    if (!strncmp(kind, "footer", 6)) ((uint64_t *)next)[-2] += 64;
    now();
    if (strstr(kind, "_malloc")) {
        /* All that free memory is asked for until it is this chunk's turn. */
        for (int i = 0; i < 200; i++) get(size);
    }
    if (strstr(kind, "_free")) {
        free(next);
        free(spare[2]);
        free(spare[3]);
    }
}

static void spoil_top(void) {
    byte *last = get(size);
    int row = 0;
    /* Neighbours one after another come from the top, so what follows the last of them is the top. */
    for (int i = 0; i < 1000 && row < 4; i++) {
        byte *p = get(size);
        row = next_chunk(last) == p ? row + 1 : 0;
        last = p;
    }
    MUST(row == 4);
    byte *top = next_chunk(last);
    about_all(top, last);
    about_all(top - 16, last - 16);
    if (is("top_size")) ((uint32_t *)top)[-1] = 0xFFFFFFF1;
    if (is("top_nul")) top[-8] = 0;
    if (is("top_cookie")) memset(top - 8, WILD, 4);
    if (is("top_all")) memset(top - 8, WILD, 16);
    now();
    for (int i = 0; i < 100; i++) get(size);
}

/* Freed chunks of a cached or fast size are written to. If a list runs through them, it must not be followed to where the
 * write points; if none does, nothing happens. Either way malloc never hands out the trap. */
static void write_after_free(void) {
    static uintptr_t trap[16] __attribute__((aligned(16)));
    byte *p[6], *q;
    for (int i = 0; i < 6; i++) p[i] = get(size);
    /* Keeps them out of the top, which would go back to the kernel. */
    void *guard = get(size), *second_guard = get(size);
    for (int i = 0; i < 6; i++) free(p[i]);
    free(spare[2]);
    free(spare[3]);
    uintptr_t with = strstr(kind, "wild") ? 0x4141414141414141u : (uintptr_t)trap;
    for (int i = 0; i < 6; i++) {
        about_all(p[i], p[i] - 16);
        ((uintptr_t *)p[i])[0] = ((uintptr_t *)p[i])[1] = with;
    }
    now();
    for (int i = 0; i < 20; i++) {
        q = get(size);
        MUST(q < (byte *)trap || q >= (byte *)(trap + 16), "malloc handed out the trap");
        memset(q, 0, size);
    }
    (void)guard, (void)second_guard;
}

static void commit(void) {
    if (!strncmp(kind, "cached", 6))
        write_after_free();
    else if (!strncmp(kind, "under", 5))
        underflow();
    else if (!strncmp(kind, "top_", 4))
        spoil_top();
    else if (!strncmp(kind, "live_size", 9) || !strncmp(kind, "mapped_length", 13))
        plausible();
    else if (!strncmp(kind, "nul", 3) || !strncmp(kind, "over", 4))
        overflow();
    else
        spoil_free();
}
