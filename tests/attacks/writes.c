/* Bytes written and read where the program has no business. */
#include "attack.h"

#pragma GCC diagnostic ignored "-Wuse-after-free"
#pragma GCC diagnostic ignored "-Warray-bounds"
#pragma GCC diagnostic ignored "-Wstringop-overflow"

enum { WILD = 0x41, MIB = 1 << 20 };

/* ABCD...: bytes of one kind might be what is there already. */
static void scribble(volatile byte *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) at[i] = (byte)(WILD + i % 26);
}

/* Backwards, as far as it goes. */
static void scribble_down(volatile byte *end, size_t bytes) {
    for (size_t i = 1; i <= bytes; i++) end[-(ptrdiff_t)i] = (byte)(WILD + i % 26);
}

/* Not the byte that is there already: that would change nothing. */
static void change(volatile byte *at) { *at ^= WILD; }

/* So many that a write of 1 MiB stays among them, where the allocator has them side by side; and some more, since mappings
 * may have a library amid them. */
static void scene_long_row(void) {
    int margin = (int)(MIB / size) + 2;
    row(margin * 3 + 16, margin);
}

static void act_over_1(void) { change(p + size); }
static void act_over_nul(void) { *(volatile byte *)(p + size) = 0; }
static void act_over_8(void) { scribble(p + size, 8); }
static void act_over_32(void) { scribble(p + size, 32); }
static void act_over_1m(void) { scribble(p + size, MIB); }
static void act_under_1(void) { change(p - 1); }
static void act_under_8(void) { scribble_down(p, 8); }
static void act_under_32(void) { scribble_down(p, 32); }
static void act_under_1m(void) { scribble_down(p, MIB); }

static byte *border;

/* A chunk that is longer than its request, where there is such. */
static void scene_slack(void) {
    size -= 7;
    scene_row();
}

static void act_slack(void) { scribble(p + size, 7); }

static void find_border(void) { border = p + malloc_usable_size(p); }
static void act_usable_1(void) { find_border(), change(border); }
static void act_usable_8(void) { find_border(), scribble(border, 8); }
static void act_usable_32(void) { find_border(), scribble(border, 32); }

static void act_write(void) {
    if (size <= WHOLE) {
        scribble(p, size);
    } else {
        scribble(p, END);
        scribble(p + size - END, END);
    }
}

static void act_write_16(void) { scribble(p, 16); }
static void act_write_tail(void) { scribble(p + size - 8, 8); }

static byte seed_before, *resized;

static void scene_read(void) {
    scene_row();
    seed_before = find(p)->seed;
    drop(p);
}

/* What was there before is still there, or somebody else's is. The first words may be the allocator's by now. */
static void act_read(void) {
    struct object *now = owner ? find(owner) : NULL;
    int stale = 1, foreign = now != NULL;
    for (size_t i = 24; i < 40; i++) {
        byte read = *(volatile byte *)(p + i);
        stale &= read == (byte)(seed_before + i * 5);
        foreign &= now && read == (byte)(now->seed + i * 5);
    }
    if (stale) say("damaged: what was freed can be read");
    if (foreign) say("damaged: the next owner's bytes can be read");
}

static void scene_moved(void) {
    scene_row();
    byte *old = p;
    forget(old);
    resized = (byte *)realloc(old, size * 3);
    if (resized == old) absent();
    own(resized, size * 3, 1);
}

/* The chunk's size is made larger, so that its neighbour lies in it. */
static void raise_size(void) {
    if (!is_heapglass())
        *(volatile uint64_t *)(p - 8) += is_mapping() ? 16 * PAGE : chunk_size();
    else if (is_mapping())
        *(volatile uint64_t *)(p - 16) += 16 * PAGE;
    else
        *(volatile uint32_t *)(p - 4) += (uint32_t)chunk_size();
}

static void act_raised_free(void) {
    also = size * 2;
    raise_size();
    byte *volatile gone = p;
    forget(gone);
    free(gone);
}

static void act_raised_realloc(void) {
    size_t more = is_mapping() ? size + 8 * PAGE : size * 2;
    raise_size();
    byte *volatile old = p;
    forget(old);
    byte *volatile got = (byte *)realloc(old, more);
    if (got) own(got, more, 1);
    if (got) look_for_overlaps();
}

#define ALL ANY_SIZE, ANY_DELAY
static const struct kind kinds[] = {
    {"overflow-1", ALL, IN_USE, scene_row, act_over_1, NULL},
    {"overflow-nul", ALL, IN_USE, scene_row, act_over_nul, NULL},
    {"overflow-8", ALL, IN_USE, scene_row, act_over_8, NULL},
    {"overflow-32", ALL, IN_USE, scene_row, act_over_32, NULL},
    {"overflow-1m", ALL, IN_USE, scene_long_row, act_over_1m, NULL},
    {"underflow-1", ALL, IN_USE, scene_row, act_under_1, NULL},
    {"underflow-8", ALL, IN_USE, scene_row, act_under_8, NULL},
    {"underflow-32", ALL, IN_USE, scene_row, act_under_32, NULL},
    {"underflow-1m", ALL, IN_USE, scene_long_row, act_under_1m, NULL},
    {"overrun-of-the-slack", ALL, IN_USE, scene_slack, act_slack, NULL},
    {"past-usable-1", ALL, IN_USE, scene_row, act_usable_1, NULL},
    {"past-usable-8", ALL, IN_USE, scene_row, act_usable_8, NULL},
    {"past-usable-32", ALL, IN_USE, scene_row, act_usable_32, NULL},
    {"write-after-free", ALL, FREED, scene_freed, act_write, NULL},
    {"write-after-free-16", ALL, FREED, scene_freed, act_write_16, NULL},
    {"write-after-free-tail", ALL, FREED, scene_freed, act_write_tail, NULL},
    {"read-after-free", ALL, FREED, scene_read, act_read, NULL},
    {"write-after-realloc", ALL, FREED, scene_moved, act_write, NULL},
    {"size-raised-free", ALL, IN_USE, scene_row, act_raised_free, NULL},
    {"size-raised-realloc", ALL, IN_USE, scene_row, act_raised_realloc, NULL},
};

int main(int argc, char **argv) { return attack_main(kinds, sizeof kinds / sizeof *kinds, argc, argv); }
