// `sized_delete MADE FREED KIND WARM`: C++'s delete with a size; KIND is `object` or `array`. Once a size within the same
// doubling passed, as when a base class without a virtual destructor is deleted.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    std::size_t made = std::strtoul(argv[1], nullptr, 10), freed = std::strtoul(argv[2], nullptr, 10);
    bool array = !std::strcmp(argv[3], "array");
    // Unbuffered, or the abort would swallow it.
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    for (int i = 0; i < (argv[4][0] == '1' ? 5000 : 1); i++) {
        if (array)
            ::operator delete[](::operator new[](made), made);
        else
            ::operator delete(::operator new(made), made);
    }
    void *p = array ? ::operator new[](made) : ::operator new(made);
    std::printf("address %p\n", p);
    if (array)
        ::operator delete[](p, freed);
    else
        ::operator delete(p, freed);
    std::puts("survived");
    return 0;
}
