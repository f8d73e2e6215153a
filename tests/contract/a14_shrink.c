/* A14 in classic mode: realloc shrinks in place and the tail serves again. */
#include "hg.h"

int main(void) {
    byte *p = get(5000), *sep = get(32);
    memset(p, 0x3C, 5000);
    size_t whole = chunk_size(p);
    MUST(realloc(p, 1000) == p);
    MUST(chunk_size(p) == chunk_for(1000));
    byte *tail = next_chunk(p);
    MUST(chunk_size(tail) == whole - chunk_for(1000) && is_binned(tail) && next_chunk(tail) == sep);
    MUST(malloc(chunk_size(tail) - 8) == tail, "the tail serves an exact request");
    for (int i = 0; i < 1000; i++) MUST(p[i] == 0x3C);
    /* A tail below a free chunk joins it; one below the top joins the top. */
    free(tail);
    MUST(realloc(p, 500) == p && next_chunk(next_chunk(p)) == sep);
    byte *last = get(6000);
    MUST(realloc(last, 100) == last && walk(0).top == next_chunk(last));
    /* Nothing to give back: the chunk stays as it is. */
    MUST(realloc(last, 97) == last && chunk_size(last) == chunk_for(100));
    walk(0);
    must_be_sound();
    return 0;
}
