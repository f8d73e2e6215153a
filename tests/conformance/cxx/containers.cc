// The standard containers keep what they are given, under growth, erasure, moves between threads, and at the end.
#include "../expect.h"
#include <algorithm>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <queue>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

static std::string word(unsigned i) { return std::string(i % 300, char('a' + i % 26)) + std::to_string(i); }

static void work(unsigned seed) {
    std::map<std::string, std::vector<std::string>> tree;
    std::unordered_map<unsigned, std::string> table;
    std::list<std::string> list;
    std::deque<std::unique_ptr<std::string>> deque;
    std::priority_queue<unsigned> queue;
    std::multiset<unsigned> numbers;
    uint64_t random = seed * 2654435761u + 1;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned x = next_random(&random) % 5000;
        switch (next_random(&random) % 8) {
        case 0: tree[word(x)].push_back(word(i)); break;
        case 1: table[x] = word(x); break;
        case 2: list.push_back(word(x)); break;
        case 3: deque.push_front(std::make_unique<std::string>(word(x))); break;
        case 4: tree.erase(word(x)); table.erase(x + 1); break;
        case 5: if (list.size() > 50) list.erase(list.begin(), std::next(list.begin(), 20)); break;
        case 6: if (!deque.empty()) deque.pop_back(); break;
        default: queue.push(x); numbers.insert(x);
        }
    }
    for (auto &[key, text] : table) EXPECT(text == word(key), "the table holds %s under %u", text.c_str(), key);
    for (auto &[key, texts] : tree)
        for (auto &text : texts) EXPECT(text == word(std::stoul(text.substr(text.find_first_of("0123456789")))), "%s", text.c_str());
    unsigned last = ~0u;
    auto expected = numbers.rbegin();
    while (!queue.empty()) {
        EXPECT(queue.top() <= last && queue.top() == *expected, "the queue is out of order");
        last = queue.top();
        queue.pop();
        ++expected;
    }
    std::vector<std::string> all(list.begin(), list.end());
    std::sort(all.begin(), all.end());
    EXPECT(std::is_sorted(all.begin(), all.end()), "not sorted");
    std::ostringstream out;
    for (auto &text : all) out << text << '\n';
    std::string written = out.str();
    EXPECT(std::count(written.begin(), written.end(), '\n') == (long)all.size(), "the stream lost lines");
}

int main() {
    work(1);
    std::vector<std::thread> threads;
    for (unsigned i = 2; i < 6; i++) threads.emplace_back(work, i);
    for (auto &thread : threads) thread.join();

    // Filled by one thread, emptied by another.
    auto handed = std::make_shared<std::vector<std::string>>();
    std::thread([handed] { for (unsigned i = 0; i < 50000; i++) handed->push_back(word(i)); }).join();
    std::thread([handed] {
        for (unsigned i = 0; i < 50000; i++) EXPECT((*handed)[i] == word(i), "word %u", i);
        handed->clear();
        handed->shrink_to_fit();
    }).join();
    EXPECT(handed->capacity() == 0, "shrink_to_fit kept %zu", handed->capacity());

    std::regex pattern("([a-z]+)([0-9]+)");
    std::smatch match;
    std::string text = "xx abc123 yy";
    EXPECT(std::regex_search(text, match, pattern) && match[1] == "abc" && match[2] == "123", "std::regex");
    std::function<std::size_t()> f = [big = std::vector<char>(10000, 'x')] { return big.size(); };
    auto g = f;
    EXPECT(f() + g() == 20000, "std::function");
    return finish();
}
