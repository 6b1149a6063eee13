// SPDX-License-Identifier: GPL-2.0-or-later
//
// Linked into a libFuzzer program: `fuzz-TARGET --write-seeds DIR` writes the target's seeds out.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "target.h"

namespace predsnap::fuzz {
namespace {

void write_seed(const std::string& path, const Input& seed) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr || std::fwrite(seed.data(), 1, seed.size(), file) != seed.size() ||
        std::fclose(file) != 0) {
        std::perror(path.c_str());
        std::exit(1);
    }
}

void write_seeds(const std::string& folder) {
    int number = 0;
    for (const Input& seed : seeds()) {
        write_seed(folder + "/seed-" + std::to_string(number++), seed);
    }
}

}  // namespace
}  // namespace predsnap::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    if (*argc == 3 && std::strcmp((*argv)[1], "--write-seeds") == 0) {
        predsnap::fuzz::write_seeds((*argv)[2]);
        std::exit(0);
    }
    return 0;
}
