// SPDX-License-Identifier: GPL-2.0-or-later
//
// Text: lines of words, the most frequent ones much more often than the rest.
#pragma once

#include "content.h"

namespace predsnap::replay {

void fill_text_page(uint64_t key, Page out);

}  // namespace predsnap::replay
