/* A6 (6): of the large bins the best fitting chunk is split, and its remainder serves again. */
#include "hg.h"

int main(void) {
    byte *a = get(5000), *s1 = get(32), *b = get(3000), *s2 = get(32), *c = get(4000), *s3 = get(32);
    free(a);
    free(b);
    free(c);
    byte *sorts = get(50000);
    MUST(sorts > s3);
    byte *p = get(3400);
    MUST(p == c, "4,000 fits 3,400 best: %p, a %p b %p c %p", p, a, b, c);
    MUST(chunk_size(p) == chunk_for(3400));
    byte *rest = next_chunk(p);
    size_t rest_size = chunk_size(rest);
    MUST(is_binned(rest) && rest_size == chunk_for(4000) - chunk_for(3400), "%zu", rest_size);
    MUST(next_chunk(rest) == s3);
    MUST(malloc(rest_size - 8) == rest, "the remainder serves an exact request");
    MUST(malloc(2900) == b && malloc(4900) == a);
    (void)s1, (void)s2;
    walk(0);
    must_be_sound();
    return 0;
}
