// operator new of 0 bytes gives a pointer that is no other live object's, in every form.
#include "../expect.h"
#include <algorithm>
#include <iterator>
#include <new>

int main() {
    static void *all[4000];
    int i = 0;
    for (void *&p : all) {
        std::size_t zero = unknown(0);
        switch (i++ % 4) {
        case 0: p = operator new(zero); break;
        case 1: p = operator new[](zero); break;
        case 2: p = operator new(zero, std::nothrow); break;
        default: p = operator new(zero, std::align_val_t(64)); break;
        }
        EXPECT(p, "form %d gave null", (i - 1) % 4);
    }
    static void *sorted[4000];
    std::copy(std::begin(all), std::end(all), sorted);
    std::sort(std::begin(sorted), std::end(sorted));
    EXPECT(std::adjacent_find(std::begin(sorted), std::end(sorted)) == std::end(sorted), "one pointer was given twice");
    i = 0;
    for (void *p : all) {
        if (i++ % 4 == 3) operator delete(p, std::size_t(0), std::align_val_t(64));
        else if (i % 2) operator delete(p, std::size_t(0));
        else operator delete(p);
    }
    return finish();
}
