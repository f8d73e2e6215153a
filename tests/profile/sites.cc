// Allocations at known places, by C++'s ways: see the comments behind them.
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace shop {
struct Item {
    char bytes[500];
};

template <typename T> struct Shelf {
    std::vector<std::unique_ptr<T>> items;
    __attribute__((noinline)) void fill(int count) {
        for (int i = 0; i < count; i++)
            items.push_back(std::make_unique<T>()); // fill
    }
};

__attribute__((noinline)) int *numbers() {
    return new int[25000]; // numbers
}
} // namespace shop

int main() {
    shop::Shelf<shop::Item> shelf;
    shelf.fill(1000); // main
    int *numbers = shop::numbers();
    std::map<std::string, int> names;
    for (int i = 0; i < 100; i++)
        names[std::string(100, 'a') + std::to_string(i)] = i; // names
    delete[] numbers;
    return 0;
}
