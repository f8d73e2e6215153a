// Compiled on Heapglass, then run on it: containers, streams, exceptions and threads of the C++ library.
#include <algorithm>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

static unsigned work(unsigned seed) {
    std::map<std::string, std::vector<unsigned>> places;
    std::unordered_map<unsigned, std::unique_ptr<std::string>> names;
    for (unsigned i = 0; i < 20000; i++) {
        seed = seed * 1103515245u + 12345u;
        std::ostringstream out;
        out << "key" << (seed >> 20) << std::string(i % 50, 'x');
        places[out.str()].push_back(i);
        names[seed >> 18] = std::make_unique<std::string>(out.str());
        try {
            if (i % 500 == 0) throw std::runtime_error(out.str());
        } catch (const std::runtime_error &e) {
            seed += std::string(e.what()).size();
        }
    }
    unsigned hash = seed;
    for (auto &[name, list] : places) hash = hash * 31 + name.size() * list.front() + list.size();
    std::vector<unsigned> keys;
    for (auto &[key, name] : names) keys.push_back(key ^ name->size());
    std::sort(keys.begin(), keys.end());
    for (unsigned key : keys) hash = hash * 33 + key;
    return hash;
}

int main() {
    std::vector<std::future<unsigned>> answers;
    for (unsigned seed = 1; seed <= 4; seed++) answers.push_back(std::async(std::launch::async, work, seed));
    for (auto &answer : answers) std::cout << answer.get() << '\n';
}
