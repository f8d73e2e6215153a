/* Pointers that may not be freed, resized or asked about. */
#include "attack.h"

#pragma GCC diagnostic ignored "-Wuse-after-free"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"

/* Long enough for a chunk of any size to be forged in, and so long that its start is far from the break wherever that begins:
 * where it is near, Heapglass takes longer to tell that it isn't a heap's. */
static byte room[160 << 20] __attribute__((aligned(4096)));
static byte *victim;

static void act_free(void) { free(p); }
static void act_free_victim(void) { free(victim); }

static void scene_aba(void) {
    scene_row();
    byte *b = neighbour(1);
    drop(p);
    drop(b);
}

static void scene_merged(void) {
    scene_row();
    byte *above = neighbour(1), *below = neighbour(-1);
    drop(below);
    drop(p);
    drop(above);
}

/* The stale free went unseen: the next who asks gets what somebody has. */
static void after_stale(void) {
    byte *second = claim(p);
    if (second) keep(second);
    look_for_overlaps();
    if (owner && second) {
        forget(second);
        forget(owner);
        free(owner);
        owner = NULL;
    }
}

static void act_interior(void) { free(p + size / 2 / 16 * 16); }
static void act_interior_16(void) { free(p + 16); }
static void act_misaligned_1(void) { free(p + 1); }
static void act_misaligned_8(void) { free(p + 8); }
static void act_before(void) { free(p - 16); }

/* On the stack, and not where its address alone would tell that it may be a mapped chunk: where the stack begins is chance. */
static byte *on_stack(void) {
    byte *at = stack_room + 64;
    return (uintptr_t)at % PAGE < 64 ? at + 64 : at;
}

static void scene_stack(void) {
    scene_row();
    own(stack_room, 4096, 0);
    victim = on_stack();
}

static void scene_static(void) {
    scene_row();
    own(room, 4096, 0);
    victim = room + 64;
}

static byte *mapping(void) {
    return (byte *)mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void scene_unmapped(void) {
    scene_row();
    byte *at = mapping();
    munmap(at, 16 * PAGE);
    victim = at + 64;
}

/* An allocator of the program's own, which hands out pieces of a mapping, each behind its length. */
static void scene_pool(void) {
    scene_row();
    byte *pool = own(mapping(), 16 * PAGE, 0);
    for (int i = 0; i < 100; i++) ((uint64_t *)pool)[i * 10 + 1] = 64;
    objects[count - 1].bytes = 0;
    victim = pool + 80 * 5 + 16;
}

/* The C library's own malloc, beside the one that stands in for it. */
static void scene_libc(void) {
    scene_row();
    void *(*theirs)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "__libc_malloc");
    if (!theirs || theirs == malloc || (void *)theirs == dlsym(RTLD_DEFAULT, "malloc")) absent();
    victim = own((byte *)theirs(size), size, 0);
}

/* Headers made up: behind the pointer, and where the next chunk would begin. */
static void forge(byte *at) {
    uint64_t *words = (uint64_t *)at;
    words[-2] = is_mapping() && is_heapglass() ? (size + 16 + PAGE - 1) / PAGE * PAGE : 0;
    words[-1] = header_word(chunk_size());
}

/* Where in its page a chunk of the kind would lie. */
static byte *in_room(void) { return room + PAGE + (is_mapping() ? 16 : 64); }

static void scene_forged_static(void) {
    scene_row();
    victim = in_room();
    own(victim, 24, 0);
    forge(victim);
    if (!is_mapping()) *(uint64_t *)(victim + chunk_size() - 8) = header_word(32);
}

static void scene_forged_stack(void) {
    scene_row();
    victim = on_stack();
    own(victim, 24, 0);
    forge(victim);
    *(uint64_t *)(victim + chunk_size() - 8) = header_word(32);
}

/* The header of a live chunk of the size, word for word. */
static void scene_copied_static(void) {
    scene_row();
    victim = in_room();
    own(victim, 24, 0);
    memcpy(victim - 16, p - 16, 16);
    if (!is_mapping()) memcpy(victim + chunk_size() - 16, p - 16, 16);
}

/* The same inside of a live chunk, whose owner wrote it there. */
static void act_forged_inside(void) {
    forge(p + 16);
    free(p + 16);
}

static void act_copied_inside(void) {
    memcpy(p, p - 16, 16);
    free(p + 16);
}

/* The forger changed the contents himself: that is no damage. */
static void after_inside(void) {
    struct object *o = find(p);
    if (o) fill(o);
}

static void act_realloc(void) {
    byte *volatile got = (byte *)realloc(p, size * 2);
    if (got) own(got, size * 2, 1);
}

static void act_realloc_smaller(void) {
    byte *volatile got = (byte *)realloc(p, size / 2);
    if (got) own(got, size / 2, 1);
}

/* The memory is no one's, and here is how much of it may be written to. */
static void act_usable(void) {
    size_t volatile usable = malloc_usable_size(p);
    if (usable) say("damaged: a freed chunk has a usable size");
}

#define ALL ANY_SIZE, ANY_DELAY
static const struct kind kinds[] = {
    {"double-free", ALL, FREED, scene_freed, act_free, NULL},
    {"double-free-a-b-a", ALL, FREED, scene_aba, act_free, NULL},
    {"double-free-merged", ALL, FREED, scene_merged, act_free, NULL},
    {"stale-free-two-owners", ANY_SIZE, REUSE, FREED, scene_freed, act_free, after_stale},
    {"free-interior", ALL, IN_USE, scene_row, act_interior, NULL},
    {"free-interior-16", ALL, IN_USE, scene_row, act_interior_16, NULL},
    {"free-misaligned-1", ALL, IN_USE, scene_row, act_misaligned_1, NULL},
    {"free-misaligned-8", ALL, IN_USE, scene_row, act_misaligned_8, NULL},
    {"free-16-before", ALL, IN_USE, scene_row, act_before, NULL},
    {"free-stack", CACHED, ONCE | OPS, IN_USE, scene_stack, act_free_victim, NULL},
    {"free-static", CACHED, ONCE | OPS, IN_USE, scene_static, act_free_victim, NULL},
    {"free-unmapped", CACHED, ONCE | OPS, IN_USE, scene_unmapped, act_free_victim, NULL},
    {"free-of-a-pool", CACHED, ONCE | OPS, IN_USE, scene_pool, act_free_victim, NULL},
    {"free-of-libc", ANY_SIZE, ONCE | OPS, IN_USE, scene_libc, act_free_victim, NULL},
    {"forged-stack", CACHED, ONCE | OPS, IN_USE, scene_forged_stack, act_free_victim, NULL},
    {"forged-static", ANY_SIZE, ONCE | OPS, IN_USE, scene_forged_static, act_free_victim, NULL},
    {"forged-inside", ALL, IN_USE, scene_row, act_forged_inside, after_inside},
    {"copied-static", ANY_SIZE, ONCE | OPS, IN_USE, scene_copied_static, act_free_victim, NULL},
    {"copied-inside", ALL, IN_USE, scene_row, act_copied_inside, after_inside},
    {"realloc-freed", ALL, FREED, scene_freed, act_realloc, NULL},
    {"realloc-freed-smaller", ALL, FREED, scene_freed, act_realloc_smaller, NULL},
    {"usable-size-freed", ALL, FREED, scene_freed, act_usable, NULL},
};

int main(int argc, char **argv) { return attack_main(kinds, sizeof kinds / sizeof *kinds, argc, argv); }
