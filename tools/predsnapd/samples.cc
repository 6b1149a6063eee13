// SPDX-License-Identifier: GPL-2.0-or-later
#include "samples.h"

#include <algorithm>
#include <cmath>

namespace predsnap::predict {
namespace {

constexpr int64_t kActive = 600 * kSecond;
constexpr float kWeightMax = 30;  // a rare row that stands for more would drown others

bool is_active(const Moment& moment, size_t i) {
    const Candidate& candidate = moment.candidates()[i];
    return !candidate.seen() || candidate.chunk->last_us() > moment.now_us() - kActive ||
           moment.expected_next(Op::kWrite)[i] > 0 || moment.expected_next(Op::kRead)[i] > 0;
}

}  // namespace

void Samples::take(const Moment& moment) {
    const size_t total = moment.candidates().size();
    std::vector<bool> active(total);
    size_t active_count = 0;
    for (size_t i = 0; i < total; ++i) {
        active[i] = is_active(moment, i);
        active_count += active[i] ? 1 : 0;
    }
    // At least a third of the room is for each kind, if there are so many.
    const auto room = static_cast<float>(options_.moment_rows_max);
    const auto actives = static_cast<float>(active_count), others = static_cast<float>(total - active_count);
    const float share_active = std::min(1.f, std::max(room - others, room * 2 / 3) / std::max(actives, 1.f));
    const float share_other =
        std::min(1.f, std::max(room - actives, room / 3) / std::max(others, 1.f));

    Taken taken;
    taken.time_us = moment.now_us();
    taken.rows.columns = feature_names().size();
    std::uniform_real_distribution<float> uniform(0, 1);
    for (size_t i = 0; i < total; ++i) {
        const float share = active[i] ? share_active : share_other;
        if (uniform(random_) >= share) {
            continue;
        }
        taken.rows.values.resize(taken.rows.values.size() + taken.rows.columns);
        moment.features(i, std::span(taken.rows.values).last(taken.rows.columns));
        taken.weights.push_back(std::min(1 / share, kWeightMax));
        taken.samples.push_back({.id = moment.candidates()[i].id});
    }
    row_count_ += taken.samples.size();
    taken_.push_back(std::move(taken));
    wait_for(taken_.back());
    if (row_count_ > options_.rows_max) {
        thin();
    }
}

void Samples::happened(ChunkId id, Op op, int64_t time_us) {
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) {
        return;
    }
    Sample*& first = found->second[index_of(op)];
    while (first != nullptr) {
        first->next_us[index_of(op)] = time_us;
        first = first->waiting[index_of(op)];
    }
}

void Samples::wait_for(Taken& taken) {
    for (Sample& sample : taken.samples) {
        auto& waiting = waiting_[sample.id];
        for (const Op op : kOps) {
            if (sample.next_us[index_of(op)] == INT64_MAX) {
                sample.waiting[index_of(op)] = waiting[index_of(op)];
                waiting[index_of(op)] = &sample;
            }
        }
    }
}

// Every second moment of the older half goes: so what is old is sparse, and what is new is dense.
void Samples::thin() {
    std::deque<Taken> kept;
    for (size_t i = 0; i < taken_.size(); ++i) {
        if (i >= taken_.size() / 2 || i % 2 != 0) {
            kept.push_back(std::move(taken_[i]));
        } else {
            row_count_ -= taken_[i].samples.size();
        }
    }
    const int64_t now_us = taken_.back().time_us;
    taken_ = std::move(kept);
    waiting_.clear();
    for (Taken& taken : taken_) {
        if (taken.time_us + kHorizonMax >= now_us) {
            wait_for(taken);
        }
    }
}

TrainingSet Samples::outcomes(const Target& target, int64_t now_us) const {
    TrainingSet set;
    set.rows.columns = feature_names().size();
    for (const Taken& taken : taken_) {
        if (taken.time_us + target.horizon_us > now_us) {
            continue;
        }
        set.rows.values.insert(set.rows.values.end(), taken.rows.values.begin(), taken.rows.values.end());
        set.weights.insert(set.weights.end(), taken.weights.begin(), taken.weights.end());
        for (const Sample& sample : taken.samples) {
            const bool came = sample.next_us[index_of(target.op)] - taken.time_us <= target.horizon_us;
            set.labels.push_back(came ? 1.f : 0.f);
            set.positives += came ? 1 : 0;
        }
    }
    return set;
}

}  // namespace predsnap::predict
