/* memalign rounds an alignment that is no power of two up to the next one. */
#include "../expect.h"
#include <malloc.h>

int main(void) {
    struct { size_t asked, got; } cases[] = {
        {0, 16},     {1, 16},      {2, 16},      {3, 16},       {8, 16},       {15, 16},         {17, 32},         {24, 32},
        {33, 64},    {48, 64},     {65, 128},    {100, 128},    {1000, 1024},  {1025, 2048},     {3000, 4096},     {4097, 8192},
        {10000, 16384}, {40000, 65536}, {65537, 131072}, {100000, 131072}, {1000000, 1048576}, {1048577, 2097152},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        /* One hit could be luck. */
        void *p[8];
        for (int k = 0; k < 8; k++) {
            p[k] = memalign(unknown(cases[i].asked), 40);
            EXPECT(p[k] && aligned(p[k], cases[i].got), "memalign(%zu, 40): %p", cases[i].asked, p[k]);
        }
        for (int k = 0; k < 8; k++) free(p[k]);
    }
    return finish();
}
