// SPDX-License-Identifier: GPL-2.0-or-later
#include "trees.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "block/engine/text.h"
#include "tools/qmp/json.h"

namespace predsnap::predict {
namespace {

// So many rows go through a tree while it is in the processor's first cache, and so many of them side by side: a step
// down waits for the one before it, but not for those of other rows.
constexpr size_t kBlock = 32, kAbreast = 8;

// The header of bytes(), little-endian; nodes and values follow.
struct Header {
    uint32_t columns, depth, trees;
    float base;
};
struct PackedNode {
    float threshold;
    uint32_t input;
};
static_assert(sizeof(Header) == 16 && sizeof(PackedNode) == 8);

// As XGBoost has it.
float logistic(float sum) { return 1.0f / (std::exp(std::min(-sum, 88.7f)) + 1.0f + 1e-16f); }

Error strange(const char* what) { return {EINVAL, text("XGBoost describes a model with %s", what)}; }

}  // namespace

struct Trees::Grower {
    const Json left, right, columns, conditions, defaults;
    const bool unknown_is_lowest;
    Trees& trees;
    Node* nodes;
    float* values;

    Grower(const Json& tree, Unknown unknown, Trees& into)
        : left(tree["left_children"]), right(tree["right_children"]), columns(tree["split_indices"]),
          conditions(tree["split_conditions"]), defaults(tree["default_left"]),
          unknown_is_lowest(unknown == Unknown::kIsLowest), trees(into) {
        into.nodes_.resize(into.nodes_.size() + into.inner());
        into.values_.resize(into.values_.size() + into.leaves());
        nodes = into.nodes_.data() + into.nodes_.size() - into.inner();
        values = into.values_.data() + into.values_.size() - into.leaves();
    }
    bool is_leaf(int64_t node) const { return left[node].integer(-1) < 0; }
    bool knows(int64_t node) const { return node >= 0 && static_cast<size_t>(node) < left.size(); }
    // How far down it goes from there; more than kDepthMax if it never ends.
    uint32_t depth(int64_t node, uint32_t above) const {
        if (!knows(node) || above > kDepthMax || is_leaf(node)) {
            return above;
        }
        return std::max(depth(left[node].integer(), above + 1), depth(right[node].integer(), above + 1));
    }
    void grow(int64_t node, size_t at) {
        if (at >= trees.inner()) {
            values[at - trees.inner()] = static_cast<float>(conditions[node].number());
            return;
        }
        if (is_leaf(node)) {  // whichever way
            nodes[at] = {0, 0};
            grow(node, 2 * at + 1);
            grow(node, 2 * at + 2);
            return;
        }
        const bool to_left = unknown_is_lowest || defaults[node].integer() != 0 || defaults[node].boolean();
        const auto column = static_cast<uint32_t>(columns[node].integer(kColumnsMax));
        nodes[at] = {static_cast<float>(conditions[node].number()),
                     static_cast<uint16_t>(std::min(column, kColumnsMax) + (to_left ? 0 : trees.columns_))};
        grow(left[node].integer(), 2 * at + 1);
        grow(right[node].integer(), 2 * at + 2);
    }
};

Result<Trees> Trees::of_xgboost(const std::string& json, Unknown unknown) {
    TRY_ASSIGN(const Json model, Json::parse(json));
    const Json learner = model["learner"], facts = learner["learner_model_param"];
    const Json list = learner["gradient_booster"]["model"]["trees"];
    if (learner["objective"]["name"].string() != "binary:logistic" || list.size() == 0) {
        return strange("another objective, or without trees");
    }
    Trees trees;
    const double base = std::strtod(facts["base_score"].string().c_str(), nullptr);
    const int columns = std::atoi(facts["num_feature"].string().c_str());
    if (!(base > 0 && base < 1) || columns < 1 || columns > static_cast<int>(kColumnsMax)) {
        return strange("no base score between 0 and 1, or too many columns");
    }
    trees.base_ = -std::log(1.0f / static_cast<float>(base) - 1.0f);
    trees.columns_ = static_cast<uint32_t>(columns);
    for (size_t i = 0; i < list.size(); ++i) {
        trees.depth_ = std::max(trees.depth_, Grower(list[i], unknown, trees).depth(0, 0));
    }
    if (trees.depth_ > kDepthMax) {
        return strange("trees that are too deep");
    }
    trees.nodes_.clear();
    trees.values_.clear();
    for (size_t i = 0; i < list.size(); ++i) {
        Grower(list[i], unknown, trees).grow(0, 0);
    }
    TRY(trees.check());
    return trees;
}

Result<void> Trees::check() const {
    const auto beyond = [&](const Node& node) { return node.input >= 2 * columns_; };
    const auto endless = [](float value) { return !std::isfinite(value); };
    if (std::any_of(nodes_.begin(), nodes_.end(), beyond) || std::any_of(values_.begin(), values_.end(), endless) ||
        endless(base_)) {
        return Error{EINVAL, "is no forest of trees: it asks for columns that there are not, or ends in no number"};
    }
    return {};
}

std::string Trees::bytes() const {
    const Header header{columns_, depth_, static_cast<uint32_t>(values_.size() / leaves()), base_};
    std::string result(reinterpret_cast<const char*>(&header), sizeof(header));
    for (const Node& node : nodes_) {
        const PackedNode packed{node.threshold, node.input};
        result.append(reinterpret_cast<const char*>(&packed), sizeof(packed));
    }
    return result.append(reinterpret_cast<const char*>(values_.data()), values_.size() * sizeof(float));
}

Result<Trees> Trees::parse(std::string_view bytes) {
    Header header;
    if (bytes.size() < sizeof(header)) {
        return Error{EINVAL, "is cut off"};
    }
    std::memcpy(&header, bytes.data(), sizeof(header));
    bytes.remove_prefix(sizeof(header));
    if (header.columns < 1 || header.columns > kColumnsMax || header.depth > kDepthMax || header.trees > kTreesMax) {
        return Error{EINVAL, "is no forest of trees: it is too large"};
    }
    Trees trees;
    trees.columns_ = header.columns;
    trees.depth_ = header.depth;
    trees.base_ = header.base;
    const size_t nodes = header.trees * trees.inner(), values = header.trees * trees.leaves();
    if (bytes.size() != nodes * sizeof(PackedNode) + values * sizeof(float)) {
        return Error{EINVAL, "is cut off"};
    }
    for (size_t i = 0; i < nodes; ++i) {
        PackedNode packed;
        std::memcpy(&packed, bytes.data() + i * sizeof(packed), sizeof(packed));
        trees.nodes_.push_back({packed.threshold, static_cast<uint16_t>(std::min<uint32_t>(packed.input, UINT16_MAX))});
    }
    trees.values_.resize(values);
    std::memcpy(trees.values_.data(), bytes.data() + nodes * sizeof(PackedNode), values * sizeof(float));
    TRY(trees.check());
    return trees;
}

// What is not known is below all thresholds in the first copy of the row, and above them in the second one: so which way it
// goes is said by which copy a node asks, and costs nothing.
void Trees::widen(const float* row, float* wide) const {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < columns_; ++i) {
        const bool unknown = std::isnan(row[i]);
        wide[i] = unknown ? -kInfinity : row[i];
        wide[columns_ + i] = unknown ? kInfinity : row[i];
    }
}

void Trees::add_tree(size_t tree, const float* wide, size_t rows, float* sums) const {
    const Node* nodes = nodes_.data() + tree * inner();
    const float* values = values_.data() + tree * leaves();
    const size_t width = 2 * columns_;
    for (size_t first = 0; first < rows; first += kAbreast) {
        const float* row = wide + first * width;
        uint32_t at[kAbreast] = {};
        for (uint32_t level = 0; level < depth_; ++level) {
#pragma GCC unroll 8
            for (size_t i = 0; i < kAbreast; ++i) {
                const Node& node = nodes[at[i]];
                at[i] = 2 * at[i] + 2 - (row[i * width + node.input] < node.threshold ? 1u : 0u);
            }
        }
        for (size_t i = 0; i < kAbreast; ++i) {
            sums[first + i] += values[at[i] - inner()];
        }
    }
}

std::vector<float> Trees::predict(const Rows& rows) const {
    assert(rows.columns == columns_);
    std::vector<float> result(rows.count());
    predict(rows.values.data(), result.size(), result.data());
    return result;
}

void Trees::predict(const float* rows, size_t count, float* values) const {
    static_assert(kBlock % kAbreast == 0);
    const size_t trees = values_.size() / leaves();
    std::vector<float> wide(kBlock * 2 * columns_);
    for (size_t first = 0; first < count; first += kBlock) {
        const size_t here = std::min(kBlock, count - first);
        for (size_t i = 0; i < here; ++i) {
            widen(rows + (first + i) * columns_, wide.data() + i * 2 * columns_);
        }
        float sums[kBlock];
        std::fill_n(sums, kBlock, base_);
        for (size_t tree = 0; tree < trees; ++tree) {
            add_tree(tree, wide.data(), (here + kAbreast - 1) / kAbreast * kAbreast, sums);
        }
        std::transform(sums, sums + here, values + first, logistic);
    }
}

size_t Trees::memory_bytes() const {
    return nodes_.capacity() * sizeof(Node) + values_.capacity() * sizeof(float);
}

}  // namespace predsnap::predict
