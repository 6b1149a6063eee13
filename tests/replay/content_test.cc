// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/replay/content.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <array>
#include <optional>
#include <vector>

namespace predsnap::replay::test {
namespace {

using PageBytes = std::array<uint8_t, kPageSize>;

PageBytes content(const ContentModel& model, uint64_t page, uint32_t version) {
    PageBytes bytes;
    model.fill(page, version, bytes);
    return bytes;
}

// The first page of a region of that kind.
uint64_t page_of(const ContentModel& model, Kind kind) {
    uint64_t page = 0;
    while (model.kind_of(page) != kind) {
        page += kKindRegion / kPageSize;
    }
    return page;
}

double differing_share(const PageBytes& a, const PageBytes& b) {
    size_t differing = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        differing += a[i] != b[i] ? 1 : 0;
    }
    return static_cast<double>(differing) / static_cast<double>(a.size());
}

// Average share of bytes that a rewrite changes.
double changed_by_rewrite(const ContentModel& model, uint64_t page) {
    double sum = 0;
    constexpr uint32_t kVersions = 200;
    for (uint32_t version = 1; version <= kVersions; ++version) {
        sum += differing_share(content(model, page, version), content(model, page, version + 1));
    }
    return sum / kVersions;
}

// How many times smaller zstd makes pages that lie side by side, in frames of 16 KiB.
double compression(const ContentModel& model, uint64_t first, uint32_t version) {
    size_t plain = 0, packed = 0;
    for (uint64_t frame = 0; frame < 16; ++frame) {
        std::vector<uint8_t> bytes;
        for (uint64_t i = 0; i < 4; ++i) {
            const PageBytes page = content(model, first + frame * 4 + i, version);
            bytes.insert(bytes.end(), page.begin(), page.end());
        }
        std::vector<uint8_t> out(ZSTD_compressBound(bytes.size()));
        plain += bytes.size();
        packed += ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3);
    }
    return static_cast<double>(plain) / static_cast<double>(packed);
}

TEST(Content, FollowsFromSeedPageAndVersion) {
    ContentOptions other_seed;
    other_seed.seed = 2;
    const ContentModel one{{}}, same{{}}, other{other_seed};
    for (const Kind kind : {Kind::database, Kind::text, Kind::random}) {
        const uint64_t page = page_of(one, kind);
        EXPECT_EQ(content(one, page, 5), content(same, page, 5));
        EXPECT_NE(content(one, page, 5), content(one, page, 6));
        EXPECT_NE(content(one, page, 5), content(one, page + 1, 5));
        EXPECT_NE(content(one, page, 5), content(other, page, 5));
    }
}

TEST(Content, NeverWrittenIsZeros) {
    EXPECT_EQ(content(ContentModel{{}}, 17, 0), PageBytes{});
}

TEST(Content, KindsHaveTheirShares) {
    const ContentModel model{{}};
    std::array<int, 3> counts{};
    for (uint64_t region = 0; region < 10'000; ++region) {
        ++counts[static_cast<size_t>(model.kind_of(region * kKindRegion / kPageSize))];
    }
    EXPECT_NEAR(counts[0], 6000, 200);
    EXPECT_NEAR(counts[1], 2500, 200);
    EXPECT_NEAR(counts[2], 1500, 200);
}

TEST(Content, ARewriteChangesTheShareAskedForOfADatabasePage) {
    for (const double share : {0.02, 0.05, 0.1, 0.25}) {
        ContentOptions options;
        options.changed = share;
        const ContentModel model(options);
        EXPECT_NEAR(changed_by_rewrite(model, page_of(model, Kind::database)), share, share / 5);
    }
}

TEST(Content, RowsStayUntilTheyAreRewritten) {
    const ContentModel model{{}};
    const uint64_t page = page_of(model, Kind::database);
    const PageBytes first = content(model, page, 1);
    EXPECT_LT(differing_share(first, content(model, page, 3)), 0.13);
    // In the end nearly all that can change has changed: identities and the directory stay.
    const double after_many = differing_share(first, content(model, page, 100'000));
    EXPECT_GT(after_many, 0.3);
    EXPECT_LT(after_many, 0.7);
}

TEST(Content, TextAndRandomAreWhollyNew) {
    const ContentModel model{{}};
    EXPECT_GT(changed_by_rewrite(model, page_of(model, Kind::text)), 0.8);
    EXPECT_GT(changed_by_rewrite(model, page_of(model, Kind::random)), 0.99);
}

TEST(Content, CompressesAsItsKindDoes) {
    const ContentModel model{{}};
    EXPECT_NEAR(compression(model, page_of(model, Kind::text), 3), 3.0, 0.5);
    EXPECT_NEAR(compression(model, page_of(model, Kind::database), 3), 2.6, 0.6);
    EXPECT_NEAR(compression(model, page_of(model, Kind::random), 3), 1.0, 0.01);
}

}  // namespace
}  // namespace predsnap::replay::test
