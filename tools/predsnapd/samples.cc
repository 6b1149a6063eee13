// SPDX-License-Identifier: GPL-2.0-or-later
#include "samples.h"

#include <algorithm>
#include <cmath>

namespace predsnap::predict {
namespace {

constexpr int64_t kActive = 600 * kSecond;
constexpr size_t kRowsAtOnce = 2048;  // and those of a moment more, as they are told to XGBoost
constexpr float kWeightMax = 1000;  // a rare row that stands for more would drown others; what is that old counts for less

bool is_active(const Moment& moment, size_t i) {
    const Candidate& candidate = moment.candidates()[i];
    return !candidate.seen() || candidate.chunk->last_us() > moment.now_us() - kActive ||
           moment.expected_next(Op::kWrite)[i] > 0 || moment.expected_next(Op::kRead)[i] > 0;
}

// With no more room than it takes. (Without exceptions, std::vector::shrink_to_fit() does nothing.)
template <typename T>
std::vector<T> fitted(const std::vector<T>& values) {
    return std::vector<T>(values.begin(), values.end());
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
    taken.weights = fitted(taken.weights);
    taken.samples = fitted(taken.samples);
    taken_.push_back(std::move(taken));
    wait_for(taken_.back());
    for (Taken& earlier : taken_) {
        if (earlier.time_us + kHorizonMax >= moment.now_us()) {
            break;
        }
        if (!earlier.samples.empty()) {
            settle(earlier);
        }
    }
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

// All is known of the oldest ones that were not settled yet: they are the last that wait for their chunks.
void Samples::settle(Taken& taken) {
    for (const Sample& sample : taken.samples) {
        After after = {kNotWithin, kNotWithin};
        const auto found = waiting_.find(sample.id);
        for (const Op op : kOps) {
            const int64_t next_us = sample.next_us[index_of(op)];
            if (next_us <= taken.time_us + kHorizonMax) {
                after[index_of(op)] = static_cast<uint32_t>(next_us - taken.time_us);
            }
            if (next_us == INT64_MAX && found != waiting_.end()) {
                Sample** at = &found->second[index_of(op)];
                while (*at != &sample) {
                    at = &(*at)->waiting[index_of(op)];
                }
                *at = nullptr;
            }
        }
        if (found != waiting_.end() && found->second[0] == nullptr && found->second[1] == nullptr) {
            waiting_.erase(found);
        }
        taken.after.push_back(after);
    }
    taken.after = fitted(taken.after);
    taken.samples = std::vector<Sample>();  // = {} would keep the room
}

// Of the older half of the rows every second one goes that nothing happened to, and those left stand for it; again, until
// there is room. What happened is rare, and is what there is to learn from: it goes only where it fills more than half of
// the room.
void Samples::thin() {
    for (size_t before = SIZE_MAX; row_count_ > options_.rows_max / 4 * 3 && row_count_ < before;) {
        before = row_count_;
        const bool spare_came = came_count() < options_.rows_max / 2;
        size_t passed = 0;
        for (Taken& taken : taken_) {
            const size_t count = taken.weights.size();
            if (passed >= before / 2 || !taken.samples.empty()) {
                break;  // its outcome is not known yet, and so is that of all after it
            }
            passed += count;
            halve(taken, spare_came);
            row_count_ -= count - taken.weights.size();
        }
    }
    std::erase_if(taken_, [](const Taken& taken) { return taken.weights.empty(); });
}

uint32_t Samples::after(const Taken& taken, size_t row, Op op) {
    if (taken.samples.empty()) {
        return taken.after[row][index_of(op)];
    }
    const int64_t next_us = taken.samples[row].next_us[index_of(op)];
    return next_us > taken.time_us + kHorizonMax ? kNotWithin : static_cast<uint32_t>(next_us - taken.time_us);
}

size_t Samples::came_count() const {
    size_t count = 0;
    for (const Taken& taken : taken_) {
        count += static_cast<size_t>(std::count_if(taken.after.begin(), taken.after.end(), came));
    }
    return count;
}

void Samples::halve(Taken& taken, bool spare_came) {
    std::vector<size_t> kept;
    for (size_t i = 0; i < taken.after.size(); ++i) {
        const bool spared = spare_came && came(taken.after[i]);
        if (spared || random_() % 2 == 0) {
            kept.push_back(i);
            taken.weights[i] = spared ? taken.weights[i] : std::min(2 * taken.weights[i], kWeightMax);
        }
    }
    if (kept.size() == taken.after.size()) {
        return;
    }
    const size_t columns = feature_names().size();
    std::vector<Packed24> values = taken.values.values<Packed24>();
    for (size_t to = 0; to < kept.size(); ++to) {
        taken.weights[to] = taken.weights[kept[to]];
        taken.after[to] = taken.after[kept[to]];
        std::copy_n(values.begin() + static_cast<ptrdiff_t>(kept[to] * columns), columns,
                    values.begin() + static_cast<ptrdiff_t>(to * columns));
    }
    taken.weights.resize(kept.size());
    taken.after.resize(kept.size());
    taken.weights = fitted(taken.weights);
    taken.after = fitted(taken.after);
    values.resize(kept.size() * columns);
    taken.values = squeezed(values);
}

size_t Samples::memory_bytes() const {
    constexpr size_t kNode = 2 * sizeof(void*) + 16;  // of a hash table
    size_t bytes = waiting_.size() * (kNode + sizeof(ChunkId) + 2 * sizeof(Sample*));
    for (const Taken& taken : taken_) {
        bytes += sizeof(Taken) + taken.values.memory_bytes() + taken.weights.capacity() * sizeof(float) +
                 taken.samples.capacity() * sizeof(Sample) + taken.after.capacity() * sizeof(After);
    }
    return bytes;
}

Outcomes Samples::outcomes(const Target& target, int64_t now_us) const {
    Outcomes outcomes;
    outcomes.labels.reserve(row_count_);  // what grows is there twice for a while
    outcomes.weights.reserve(row_count_);
    for (const Taken& taken : taken_) {
        const bool known = taken.time_us + target.horizon_us <= now_us;
        for (size_t row = 0; row < taken.weights.size(); ++row) {
            const bool came = known && after(taken, row, target.op) <= target.horizon_us;
            outcomes.labels.push_back(came ? 1.f : 0.f);
            outcomes.weights.push_back(known ? taken.weights[row] : 0.f);
            outcomes.known += known ? 1 : 0;
            outcomes.positives += came ? 1 : 0;
        }
    }
    return outcomes;
}

Result<TrainingRows> Samples::rows(int threads) const {
    std::vector<float> weights;
    weights.reserve(row_count_);
    for (const Taken& taken : taken_) {
        weights.insert(weights.end(), taken.weights.begin(), taken.weights.end());
    }
    auto next = taken_.begin();
    const TrainingRows::Source source{
        [&] { next = taken_.begin(); },
        [&](Rows& rows) {
            rows.values.clear();
            for (; next != taken_.end() && rows.count() < kRowsAtOnce; ++next) {
                const std::vector<Packed24> values = next->values.values<Packed24>();
                rows.values.insert(rows.values.end(), values.begin(), values.end());
            }
            return rows.count() > 0;
        }};
    return TrainingRows::create(source, feature_names().size(), weights, threads);
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
