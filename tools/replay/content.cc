// SPDX-License-Identifier: GPL-2.0-or-later
#include "content.h"

#include <cassert>
#include <cstring>

#include "database_page.h"
#include "mix.h"
#include "text_page.h"

namespace predsnap::replay {
namespace {

void fill_random(uint64_t key, Page out) {
    for (uint64_t i = 0; i < kPageSize; i += sizeof(uint64_t)) {
        const uint64_t word = mix(key + (i + 1) * 0x9e3779b97f4a7c15ull);
        std::memcpy(out.data() + i, &word, sizeof(word));
    }
}

}  // namespace

ContentModel::ContentModel(const ContentOptions& options)
    : options_(options), rows_changed_(database_rows_for(options.changed)) {
    assert(options.database_percent + options.text_percent <= 100);
}

Kind ContentModel::kind_of(uint64_t page) const {
    const uint64_t region = page * kPageSize / kKindRegion;
    const uint64_t draw = mix(options_.seed, region) % 100;
    if (draw < options_.database_percent) {
        return Kind::database;
    }
    return draw < options_.database_percent + options_.text_percent ? Kind::text : Kind::random;
}

void ContentModel::fill(uint64_t page, uint32_t version, Page out) const {
    if (version == 0) {
        std::memset(out.data(), 0, out.size());
        return;
    }
    const uint64_t key = mix(~options_.seed, page);
    switch (kind_of(page)) {
        case Kind::database:
            fill_database_page(key, page, version, rows_changed_, out);
            break;
        case Kind::text:
            fill_text_page(mix(key, version), out);
            break;
        case Kind::random:
            fill_random(mix(key, version), out);
            break;
    }
}

}  // namespace predsnap::replay
