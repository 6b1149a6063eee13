// SPDX-License-Identifier: GPL-2.0-or-later
//
// The worked examples of docs/format.md: always the same images, byte for byte.
#pragma once

#include <cstdint>
#include <vector>

namespace predsnap::test {

std::vector<uint8_t> build_format_example();
// With a pack.
std::vector<uint8_t> build_pack_example();

}  // namespace predsnap::test
