// SPDX-License-Identifier: GPL-2.0-or-later
//
// The worked examples of docs/format.md: always the same images, byte for byte.
#pragma once

#include <cstdint>
#include <vector>

namespace predsnap::test {

std::vector<uint8_t> build_format_example();
// With a pack. Not closed: as a crash leaves it while only the log tells of the pack, no checkpoint.
std::vector<uint8_t> build_pack_example(bool closed = true);

}  // namespace predsnap::test
