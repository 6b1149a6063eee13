// SPDX-License-Identifier: GPL-2.0-or-later
#include "change_forecast.h"

#include <algorithm>

namespace predsnap::predict {
namespace {

// With fewer outcomes nothing is judged, and nothing learnt.
constexpr size_t kOutcomesMin = 200;
// Trees serve when they are better than each of the rules by so much.
constexpr double kBetter = 0.95;
constexpr size_t kRowsAtOnce = 256;

// What is told of a chunk, then the two rules' own answers.
size_t columns() { return feature_names().size() + 2; }

}  // namespace

std::string_view name_of(ChangeMethod method) {
    static constexpr std::string_view kNames[] = {"mean", "last", "trees"};
    return kNames[static_cast<size_t>(method)];
}

void ChangeForecast::write_row(const Moment& moment, size_t candidate, std::span<float> row) {
    const Chunk& chunk = *moment.candidates()[candidate].chunk;
    moment.features(candidate, row.first(columns() - 2));
    row[columns() - 2] = chunk.changed;
    row[columns() - 1] = chunk.changed_last;
}

void ChangeForecast::take(const Moment& moment) {
    std::vector<size_t> known;
    for (size_t i = 0; i < moment.candidates().size(); ++i) {
        if (moment.candidates()[i].chunk->changed >= 0 && !waiting_.contains(moment.candidates()[i].id)) {
            known.push_back(i);
        }
    }
    std::shuffle(known.begin(), known.end(), random_);
    known.resize(std::min(known.size(), kMomentRowsMax));
    if (waiting_.size() + known.size() > kRowsMax / 4) {
        waiting_.clear();  // chunks that are not written any more
    }
    std::vector<float> row(columns());
    for (const size_t candidate : known) {
        write_row(moment, candidate, row);
        waiting_.emplace(moment.candidates()[candidate].id, Row(row.begin(), row.end()));
    }
}

void ChangeForecast::happened(ChunkId id, float changed) {
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) {
        return;
    }
    if (outcomes_.size() == kRowsMax) {
        outcomes_.erase(outcomes_.begin(), outcomes_.begin() + kRowsMax / 4);
    }
    outcomes_.push_back({std::move(found->second), changed});
    waiting_.erase(found);
}

// Of the oldest so many outcomes. Log loss takes shares as it takes what came or not.
Result<Trees> ChangeForecast::fit(size_t count, const BoosterOptions& options) const {
    Rows rows{columns(), {}};
    std::vector<float> labels;
    for (size_t i = 0; i < count; ++i) {
        rows.values.insert(rows.values.end(), outcomes_[i].row.begin(), outcomes_[i].row.end());
        labels.push_back(outcomes_[i].changed);
    }
    return train_trees(rows, labels, std::vector<float>(count, 1.f), options);
}

void ChangeForecast::judge(const Trees& trees, size_t from) {
    errors_ = {};
    for (size_t i = from; i < outcomes_.size(); ++i) {
        const std::vector<float> row(outcomes_[i].row.begin(), outcomes_[i].row.end());
        const float said[] = {row[columns() - 2], row[columns() - 1], trees.predict({columns(), row})[0]};
        for (size_t method = 0; method < kChangeMethods; ++method) {
            const double off = static_cast<double>(said[method] - outcomes_[i].changed);
            errors_[method] += off * off / static_cast<double>(outcomes_.size() - from);
        }
    }
    champion_ = error(ChangeMethod::kLast) < error(ChangeMethod::kMean) ? ChangeMethod::kLast : ChangeMethod::kMean;
    if (error(ChangeMethod::kTrees) < kBetter * error(champion_)) {
        champion_ = ChangeMethod::kTrees;
    }
}

Result<void> ChangeForecast::train(const BoosterOptions& options) {
    if (outcomes_.size() < kOutcomesMin) {
        return {};
    }
    const size_t older = outcomes_.size() / 4 * 3;
    TRY_ASSIGN(const Trees trial, fit(older, options));
    judge(trial, older);
    trees_.reset();
    if (champion_ == ChangeMethod::kTrees) {
        TRY_ASSIGN(Trees trees, fit(outcomes_.size(), options));
        trees_ = std::move(trees);
    }
    return {};
}

std::vector<float> ChangeForecast::shares(const Moment& moment) const {
    const size_t count = moment.candidates().size();
    std::vector<float> shares(count, -1);
    std::vector<size_t> asked;
    for (size_t i = 0; i < count; ++i) {
        const Chunk& chunk = *moment.candidates()[i].chunk;
        shares[i] = champion_ == ChangeMethod::kLast ? chunk.changed_last : chunk.changed;
        if (trees_ && shares[i] >= 0) {
            asked.push_back(i);
        }
    }
    std::vector<float> rows(kRowsAtOnce * columns()), said(kRowsAtOnce);
    for (size_t first = 0; first < asked.size(); first += kRowsAtOnce) {
        const size_t here = std::min(kRowsAtOnce, asked.size() - first);
        for (size_t i = 0; i < here; ++i) {
            write_row(moment, asked[first + i], std::span(rows).subspan(i * columns(), columns()));
        }
        trees_->predict(rows.data(), here, said.data());
        for (size_t i = 0; i < here; ++i) {
            shares[asked[first + i]] = said[i];
        }
    }
    return shares;
}

}  // namespace predsnap::predict
