// SPDX-License-Identifier: GPL-2.0-or-later
//
// The worked example of docs/format.md: always the same image, byte for byte.
#pragma once

#include <cstdint>
#include <vector>

namespace predsnap::test {

std::vector<uint8_t> build_format_example();

}  // namespace predsnap::test
