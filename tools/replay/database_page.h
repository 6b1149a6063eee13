// SPDX-License-Identifier: GPL-2.0-or-later
//
// A page of a database: header (checksum, number, log sequence number), rows of 64 bytes of which
// some are rewritten in each version, a directory of the rows, a trailer that repeats checksum and
// log sequence number. The fields are those of common row stores, so that compression and
// comparing byte by byte find what they would find there.
#pragma once

#include <cstdint>

#include "content.h"

namespace predsnap::replay {

// How many rows a version rewrites so that about this share of the page's bytes changes.
unsigned database_rows_for(double changed);

// `key` is drawn for the page, version is at least 1.
void fill_database_page(uint64_t key, uint64_t page, uint32_t version, unsigned rows_changed,
                        Page out);

}  // namespace predsnap::replay
