/* Memory given back as what it wasn't: another size, another form of new, another family. */
#include <new>

extern "C" {
#include "attack.h"
void free_sized(void *, size_t) __attribute__((weak));
void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
}

#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"

static void act_sized_small() { ::operator delete(p, also = size / 4); }
static void act_sized_large() { ::operator delete(p, also = size * 4); }
static void act_sized_array() { ::operator delete[](p, also = size * 4); }

static void act_free_sized_small() {
    if (!free_sized) absent();
    free_sized(p, also = size / 4);
}

static void act_free_sized_large() {
    if (!free_sized) absent();
    free_sized(p, also = size * 4);
}

static void act_free_aligned_sized() {
    if (!free_aligned_sized) absent();
    free_aligned_sized(p, 64, also = size * 4);
}

static void scene_aligned() {
    scene_row();
    if (!free_aligned_sized) absent();
    drop(p);
    p = keep((byte *)aligned_alloc(64, (size + 63) / 64 * 64));
}

/* A base without a virtual destructor, and what is derived from it: delete is told the base's size. */
struct Base { byte head[8]; };
template <size_t BYTES> struct Derived : Base { byte tail[BYTES - 8]; };

static void act_delete_base() {
    also = sizeof(Base);
    Base *volatile base = (Base *)p;
    delete base;
}

/* new[] of a type with a destructor keeps the count before the first element: delete is given the middle of a chunk. */
static int volatile ended;
struct Counted {
    byte body[8];
    ~Counted() { ended = ended + 1; }
};
static Counted *volatile counted;

static void scene_array() {
    scene_row();
    counted = new Counted[(size - 8) / sizeof(Counted)];
}

static void act_array_as_one() { delete counted; }

static void gone(byte *volatile at) { forget(at); }

static void act_plain_array_as_one() {
    gone(p);
    ::operator delete(p);
}

static void scene_new() {
    scene_row();
    drop(p);
    p = keep((byte *)::operator new(size));
}

static void scene_new_array() {
    scene_row();
    drop(p);
    p = keep((byte *)::operator new[](size));
}

static void scene_new_aligned() {
    scene_row();
    drop(p);
    p = keep((byte *)::operator new(size, std::align_val_t(64)));
}

static void act_free() {
    gone(p);
    free(p);
}

static void act_delete() {
    gone(p);
    ::operator delete(p);
}

/* For those whose chunk really is free afterwards. */
static void act_and_forget(void (*act)()) {
    gone(p);
    act();
}
static void forgetting_sized_small() { act_and_forget(act_sized_small); }
static void forgetting_sized_large() { act_and_forget(act_sized_large); }
static void forgetting_sized_array() { act_and_forget(act_sized_array); }
static void forgetting_free_sized_small() { act_and_forget(act_free_sized_small); }
static void forgetting_free_sized_large() { act_and_forget(act_free_sized_large); }
static void forgetting_free_aligned_sized() { act_and_forget(act_free_aligned_sized); }
static void forgetting_delete_base() { act_and_forget(act_delete_base); }

#define ALL ANY_SIZE, ANY_DELAY
static const struct kind kinds[] = {
    {"sized-delete-small", ALL, IN_USE, scene_row, forgetting_sized_small, NULL},
    {"sized-delete-large", ALL, IN_USE, scene_row, forgetting_sized_large, NULL},
    {"sized-delete-array", ALL, IN_USE, scene_row, forgetting_sized_array, NULL},
    {"delete-of-a-base", ALL, IN_USE, scene_row, forgetting_delete_base, NULL},
    {"free_sized-small", ALL, IN_USE, scene_row, forgetting_free_sized_small, NULL},
    {"free_sized-large", ALL, IN_USE, scene_row, forgetting_free_sized_large, NULL},
    {"free_aligned_sized", ALL, IN_USE, scene_aligned, forgetting_free_aligned_sized, NULL},
    {"new[]-delete", ALL, IN_USE, scene_array, act_array_as_one, NULL},
    {"new[]-delete-plain", ALL, IN_USE, scene_new_array, act_plain_array_as_one, NULL},
    {"new-free", ALL, IN_USE, scene_new, act_free, NULL},
    {"malloc-delete", ALL, IN_USE, scene_row, act_delete, NULL},
    {"new-aligned-delete", ALL, IN_USE, scene_new_aligned, act_delete, NULL},
};

int main(int argc, char **argv) { return attack_main(kinds, sizeof kinds / sizeof *kinds, argc, argv); }
