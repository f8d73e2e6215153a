/* mallopt's return value: 1 for every value that an option takes, 0 where M_MXFAST is out of its range. Options that have no
 * meaning are taken silently, as the C library does, and the allocator works on after each. */
#include "../expect.h"
#include <limits.h>
#include <malloc.h>

int main(void) {
    struct { int option, value, wanted; const char *name; } calls[] = {
        {M_MXFAST, 0, 1, "M_MXFAST"},          {M_MXFAST, 64, 1, "M_MXFAST"},         {M_MXFAST, 128, 1, "M_MXFAST"},
        {M_MXFAST, 160, 1, "M_MXFAST"},        {M_MXFAST, 161, 0, "M_MXFAST"},        {M_MXFAST, 1 << 20, 0, "M_MXFAST"},
        {M_MXFAST, -1, 0, "M_MXFAST"},         {M_MXFAST, 80, 1, "M_MXFAST"},
        {M_TRIM_THRESHOLD, 0, 1, "M_TRIM_THRESHOLD"},   {M_TRIM_THRESHOLD, -1, 1, "M_TRIM_THRESHOLD"},
        {M_TRIM_THRESHOLD, 1 << 20, 1, "M_TRIM_THRESHOLD"}, {M_TRIM_THRESHOLD, INT_MAX, 1, "M_TRIM_THRESHOLD"},
        {M_TOP_PAD, 0, 1, "M_TOP_PAD"},        {M_TOP_PAD, 1 << 20, 1, "M_TOP_PAD"},  {M_TOP_PAD, 128 << 10, 1, "M_TOP_PAD"},
        {M_MMAP_THRESHOLD, 0, 1, "M_MMAP_THRESHOLD"},   {M_MMAP_THRESHOLD, 4096, 1, "M_MMAP_THRESHOLD"},
        {M_MMAP_THRESHOLD, 32 << 20, 1, "M_MMAP_THRESHOLD"}, {M_MMAP_THRESHOLD, 128 << 10, 1, "M_MMAP_THRESHOLD"},
        {M_MMAP_MAX, 0, 1, "M_MMAP_MAX"},      {M_MMAP_MAX, 1 << 16, 1, "M_MMAP_MAX"},
        {M_CHECK_ACTION, 3, 1, "M_CHECK_ACTION"}, {M_PERTURB, 0xa5, 1, "M_PERTURB"}, {M_PERTURB, 0, 1, "M_PERTURB"},
        {M_ARENA_TEST, 2, 1, "M_ARENA_TEST"},  {M_ARENA_TEST, 0, 1, "M_ARENA_TEST"},
        {M_ARENA_MAX, 2, 1, "M_ARENA_MAX"},    {M_ARENA_MAX, 0, 1, "M_ARENA_MAX"},
        {-100, 7, 1, "an unknown option"},     {5, 7, 1, "an unknown option"},
    };
    for (size_t i = 0; i < COUNT(calls); i++) {
        int got = mallopt(calls[i].option, calls[i].value);
        EXPECT(got == calls[i].wanted, "%s = %d: %d", calls[i].name, calls[i].value, got);
        for (size_t n = 1; n < 400000; n = n * 2 + 13) {
            char *p = malloc(n), *q = calloc(1, n);
            NEED(p && q, "malloc(%zu) after %s = %d", n, calls[i].name, calls[i].value);
            EXPECT(zeroes(q, n) == n, "calloc(%zu) after %s = %d", n, calls[i].name, calls[i].value);
            memset(p, 1, n);
            free(p);
            free(q);
        }
    }
    return finish();
}
