// std::pmr::new_delete_resource and the resources on top of it.
#include "../expect.h"
#include <map>
#include <memory_resource>
#include <string>
#include <vector>

int main() {
    std::pmr::memory_resource *base = std::pmr::new_delete_resource();
    for (std::size_t alignment = 1; alignment <= 65536; alignment *= 2)
        for (std::size_t n : {std::size_t(0), std::size_t(1), std::size_t(100), std::size_t(3000), std::size_t(200000)}) {
            void *p = base->allocate(n, alignment);
            NEED(p && aligned(p, alignment), "allocate(%zu, %zu): %p", n, alignment, p);
            fill(p, alignment, 0, n);
            EXPECT(intact(p, alignment, n) == n, "contents");
            base->deallocate(p, n, alignment);
        }
    std::pmr::unsynchronized_pool_resource pool(base);
    std::pmr::monotonic_buffer_resource arena(base);
    for (std::pmr::memory_resource *from : {base, (std::pmr::memory_resource *)&pool, (std::pmr::memory_resource *)&arena}) {
        std::pmr::map<int, std::pmr::string> map(from);
        std::pmr::vector<std::pmr::string> vector(from);
        for (int i = 0; i < 5000; i++) {
            map[i] = std::string(i % 500, 'a' + i % 26).c_str();
            vector.emplace_back(map[i]);
        }
        for (int i = 0; i < 5000; i++) EXPECT(map[i] == vector[i] && map[i].size() == unsigned(i % 500), "string %d", i);
    }
    return finish();
}
