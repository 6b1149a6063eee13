// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a replayed guest writes: traces say where and when, not what. The content of a page of 4 KiB
// at its n-th version follows from (seed, page, n) alone, so nothing of it needs to be kept, and
// anything read can be verified.
//
// Each region of 1 MiB has one kind, drawn from the seed:
// - database: a page of rows with header and trailer. A new version changes some rows, so that
// about
//   `changed` of the page's bytes differ from the version before; the other rows are as they were.
// - text: words of a small vocabulary, frequent ones first, in lines. Compresses to about a third.
// A new
//   version is other text, as a file is that takes the place of another.
// - random: cannot be compressed, and a new version has nothing of the old one: media, archives,
// ciphers.
#pragma once

#include <cstdint>
#include <span>

namespace predsnap::replay {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kKindRegion = 1 << 20;  // bytes that share a kind
using Page = std::span<uint8_t, kPageSize>;

enum class Kind : uint8_t { database, text, random };

struct ContentOptions {
    uint64_t seed = 1;
    double changed = 0.05;  // share of a database page's bytes that a rewrite changes
    // How many regions of a hundred are of which kind; the rest is random.
    unsigned database_percent = 60;
    unsigned text_percent = 25;
};

class ContentModel {
  public:
    explicit ContentModel(const ContentOptions& options);

    Kind kind_of(uint64_t page) const;
    // The content of the page's version 1, 2 and so on. Version 0 was never written: zeros.
    void fill(uint64_t page, uint32_t version, Page out) const;

  private:
    ContentOptions options_;
    unsigned rows_changed_;
};

}  // namespace predsnap::replay
