// SPDX-License-Identifier: GPL-2.0-or-later
//
// Runs a fuzz target without libFuzzer: on files or the files of folders, then on its seeds and fixed
// mutations of them.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "target.h"

namespace predsnap::fuzz {
namespace {

constexpr int kMutationsPerSeed = 40;

void run(const Input& input) { LLVMFuzzerTestOneInput(input.data(), input.size()); }

int run_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
        return 1;
    }
    run(Input(std::istreambuf_iterator<char>(file), {}));
    return 0;
}

int run_path(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) {
        return run_file(path);
    }
    int failed = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
        failed |= entry.is_regular_file() ? run_file(entry.path()) : 0;
    }
    return failed;
}

// A few bytes changed, or the end cut off, or more appended.
Input mutate(Input input, std::mt19937_64& random) {
    for (uint64_t n = 1 + random() % 4; n > 0 && !input.empty(); --n) {
        static constexpr uint8_t kTelling[] = {0, 1, 0x7f, 0x80, 0xff};
        const uint64_t drawn = random();
        input[random() % input.size()] =
            drawn % 2 == 0 ? kTelling[drawn / 2 % 5] : static_cast<uint8_t>(drawn >> 8);
    }
    const uint64_t what = random() % 8;
    if (what == 0) {
        input.resize(random() % (input.size() + 1));
    } else if (what == 1) {
        for (int i = 0; i < 12; ++i) {
            input.push_back(static_cast<uint8_t>(random()));
        }
    }
    return input;
}

void run_seeds() {
    std::mt19937_64 random(1);
    for (const Input& seed : seeds()) {
        run(seed);
        for (int i = 0; i < kMutationsPerSeed; ++i) {
            run(mutate(seed, random));
        }
    }
}

}  // namespace
}  // namespace predsnap::fuzz

int main(int argc, char** argv) {
    using namespace predsnap::fuzz;
    int failed = 0;
    for (int i = 1; i < argc; ++i) {
        failed |= run_path(argv[i]);
    }
    run_seeds();
    return failed;
}
