// SPDX-License-Identifier: GPL-2.0-or-later
#include "samples.h"

#include <algorithm>
#include <cmath>

namespace predsnap::predict {
namespace {

constexpr int64_t kActive = 600 * kSecond;
constexpr float kWeightMax = 1000;  // a rare row that stands for more would drown others; what is that old counts for less

bool is_active(const Moment& moment, size_t i) {
    const Candidate& candidate = moment.candidates()[i];
    return !candidate.seen() || candidate.chunk->last_us() > moment.now_us() - kActive ||
           moment.expected_next(Op::kWrite)[i] > 0 || moment.expected_next(Op::kRead)[i] > 0;
}

Squeezed squeezed(std::span<const Packed24> values) { return {values, feature_names().size() * sizeof(Packed24)}; }

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
    std::vector<float> row(feature_names().size());
    std::vector<Packed24> values;
    std::uniform_real_distribution<float> uniform(0, 1);
    for (size_t i = 0; i < total; ++i) {
        const float share = active[i] ? share_active : share_other;
        if (uniform(random_) >= share) {
            continue;
        }
        moment.features(i, row);
        values.insert(values.end(), row.begin(), row.end());
        taken.weights.push_back(std::min(1 / share, kWeightMax));
        taken.samples.push_back({.id = moment.candidates()[i].id});
    }
    row_count_ += taken.samples.size();
    taken.values = squeezed(values);
    taken.weights.shrink_to_fit();
    taken.samples.shrink_to_fit();
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

// Of the older half of the rows every second one goes that nothing happened to, and those left stand for it; again, until
// there is room. What happened is rare, and is what there is to learn from: it goes only where it fills more than half of
// the room.
void Samples::thin() {
    const int64_t now_us = taken_.back().time_us;
    for (size_t before = SIZE_MAX; row_count_ > options_.rows_max / 4 * 3 && row_count_ < before;) {
        before = row_count_;
        const bool spare_came = came_count(now_us) < options_.rows_max / 2;
        size_t passed = 0;
        for (Taken& taken : taken_) {
            const size_t count = taken.samples.size();
            if (passed >= before / 2 || taken.time_us + kHorizonMax >= now_us) {
                break;  // its outcome is not known yet, and so is that of all after it
            }
            passed += count;
            halve(taken, spare_came);
            row_count_ -= count - taken.samples.size();
        }
    }
    std::erase_if(taken_, [](const Taken& taken) { return taken.samples.empty(); });
    waiting_.clear();
    for (Taken& taken : taken_) {
        if (taken.time_us + kHorizonMax >= now_us) {
            wait_for(taken);
        }
    }
}

bool Samples::came(const Taken& taken, const Sample& sample) {
    return std::min(sample.next_us[0], sample.next_us[1]) <= taken.time_us + kHorizonMax;
}

size_t Samples::came_count(int64_t now_us) const {
    size_t count = 0;
    for (const Taken& taken : taken_) {
        for (const Sample& sample : taken.samples) {
            count += taken.time_us + kHorizonMax < now_us && came(taken, sample) ? 1 : 0;
        }
    }
    return count;
}

void Samples::halve(Taken& taken, bool spare_came) {
    std::vector<size_t> kept;
    for (size_t i = 0; i < taken.samples.size(); ++i) {
        const bool spared = spare_came && came(taken, taken.samples[i]);
        if (spared || random_() % 2 == 0) {
            kept.push_back(i);
            taken.weights[i] = spared ? taken.weights[i] : std::min(2 * taken.weights[i], kWeightMax);
        }
    }
    if (kept.size() == taken.samples.size()) {
        return;
    }
    const size_t columns = feature_names().size();
    std::vector<Packed24> values = taken.values.values<Packed24>();
    for (size_t to = 0; to < kept.size(); ++to) {
        taken.weights[to] = taken.weights[kept[to]];
        taken.samples[to] = taken.samples[kept[to]];
        std::copy_n(values.begin() + static_cast<ptrdiff_t>(kept[to] * columns), columns,
                    values.begin() + static_cast<ptrdiff_t>(to * columns));
    }
    taken.weights.resize(kept.size());
    taken.samples.resize(kept.size());
    taken.weights.shrink_to_fit();
    taken.samples.shrink_to_fit();
    values.resize(kept.size() * columns);
    taken.values = squeezed(values);
}

TrainingSet Samples::outcomes(const Target& target, int64_t now_us) const {
    TrainingSet set;
    set.rows.columns = feature_names().size();
    set.rows.values.reserve(row_count_ * set.rows.columns);  // what grows is there twice for a while
    for (const Taken& taken : taken_) {
        if (taken.time_us + target.horizon_us > now_us) {
            continue;
        }
        const std::vector<Packed24> values = taken.values.values<Packed24>();
        set.rows.values.insert(set.rows.values.end(), values.begin(), values.end());
        set.weights.insert(set.weights.end(), taken.weights.begin(), taken.weights.end());
        for (const Sample& sample : taken.samples) {
            const bool came = sample.next_us[index_of(target.op)] - taken.time_us <= target.horizon_us;
            set.labels.push_back(came ? 1.f : 0.f);
            set.positives += came ? 1 : 0;
        }
    }
    return set;
}

Profile Samples::profile() const {
    const size_t columns = feature_names().size();
    struct Sums {
        double all = 0, known = 0, values = 0, distances = 0;
        double mean() const { return known > 0 ? values / known : 0; }
    };
    std::vector<Sums> sums(columns);
    const auto each = [&](const auto& fn) {
        for (const Taken& taken : taken_) {
            const std::vector<Packed24> values = taken.values.values<Packed24>();
            for (size_t i = 0; i < values.size(); ++i) {
                fn(sums[i % columns], static_cast<double>(values[i]), static_cast<double>(taken.weights[i / columns]));
            }
        }
    };
    each([](Sums& sum, double value, double weight) {
        sum.all += weight;
        if (!std::isnan(value)) {
            sum.known += weight;
            sum.values += weight * value;
        }
    });
    each([](Sums& sum, double value, double weight) {
        sum.distances += std::isnan(value) ? 0 : weight * std::abs(value - sum.mean());
    });
    Profile profile;
    for (size_t i = 0; i < columns && row_count_ > 0; ++i) {
        const Sums& sum = sums[i];
        profile.columns.push_back({static_cast<float>(sum.mean()),
                                   static_cast<float>(sum.known > 0 ? sum.distances / sum.known : 0),
                                   static_cast<float>(sum.known / sum.all)});
    }
    return profile;
}

}  // namespace predsnap::predict
