// SPDX-License-Identifier: GPL-2.0-or-later
#include "samples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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
        taken.samples.push_back({.id = moment.candidates()[i].id, .weight = std::min(1 / share, kWeightMax)});
    }
    taken.rows = taken.samples.size();
    row_count_ += taken.rows;
    taken.values = squeezed(values);
    // With no more room than it takes: without exceptions, shrink_to_fit() does nothing.
    taken.samples = std::vector<Sample>(taken.samples.begin(), taken.samples.end());
    taken_.push_back(std::move(taken));
    wait_for(taken_.back());
    for (Taken& earlier : taken_) {
        if (earlier.time_us + kHorizonMax >= moment.now_us()) {
            break;
        }
        if (!earlier.settled()) {
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

// All is known of the oldest ones that were not settled yet.
void Samples::settle(Taken& taken) {
    set_fates(taken, fates_of(taken));
    for (const Sample& sample : taken.samples) {
        stop_waiting(sample);
    }
    taken.samples = std::vector<Sample>();  // = {} would keep the room
}

// It is the last one that waits for its chunk, as it is the oldest.
void Samples::stop_waiting(const Sample& sample) {
    const auto found = waiting_.find(sample.id);
    if (found == waiting_.end()) {
        return;
    }
    for (const Op op : kOps) {
        if (sample.next_us[index_of(op)] == INT64_MAX) {
            Sample** at = &found->second[index_of(op)];
            while (*at != &sample) {
                at = &(*at)->waiting[index_of(op)];
            }
            *at = nullptr;
        }
    }
    if (found->second[0] == nullptr && found->second[1] == nullptr) {
        waiting_.erase(found);
    }
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
            const size_t count = taken.rows;
            if (passed >= before / 2 || !taken.settled()) {
                break;  // its outcome is not known yet, and so is that of all after it
            }
            passed += count;
            halve(taken, spare_came);
            row_count_ -= count - taken.rows;
        }
    }
    std::erase_if(taken_, [](const Taken& taken) { return taken.rows == 0; });
}

std::vector<Samples::Fate> Samples::fates_of(const Taken& taken) {
    if (taken.settled()) {
        return taken.fates.values<Fate>();
    }
    std::vector<Fate> fates;
    fates.reserve(taken.rows);
    for (const Sample& sample : taken.samples) {
        Fate& fate = fates.emplace_back(Fate{sample.weight, {kNotWithin, kNotWithin}});
        for (const Op op : kOps) {
            const int64_t next_us = sample.next_us[index_of(op)];
            if (next_us <= taken.time_us + kHorizonMax) {
                fate.after_us[index_of(op)] = static_cast<uint32_t>(next_us - taken.time_us);
            }
        }
    }
    return fates;
}

size_t Samples::came_count() const {
    return std::accumulate(taken_.begin(), taken_.end(), size_t{0},
                           [](size_t sum, const Taken& taken) { return sum + taken.came; });
}

void Samples::set_fates(Taken& taken, std::span<const Fate> fates) {
    taken.rows = fates.size();
    taken.came = static_cast<size_t>(std::count_if(fates.begin(), fates.end(), came));
    taken.fates = Squeezed(fates, sizeof(Fate));
}

void Samples::halve(Taken& taken, bool spare_came) {
    if (spare_came && taken.came == taken.rows) {
        return;
    }
    std::vector<size_t> rows;
    std::vector<Fate> kept;
    const std::vector<Fate> fates = fates_of(taken);
    for (size_t row = 0; row < fates.size(); ++row) {
        const bool spared = spare_came && came(fates[row]);
        if (spared || random_() % 2 == 0) {
            rows.push_back(row);
            kept.push_back({spared ? fates[row].weight : std::min(2 * fates[row].weight, kWeightMax), fates[row].after_us});
        }
    }
    const bool all = kept.size() == taken.rows;
    set_fates(taken, kept);
    if (all) {
        return;
    }
    const size_t columns = feature_names().size();
    const std::vector<Packed24> values = taken.values.values<Packed24>();
    std::vector<Packed24> kept_values;
    for (const size_t row : rows) {
        const auto first = values.begin() + static_cast<ptrdiff_t>(row * columns);
        kept_values.insert(kept_values.end(), first, first + static_cast<ptrdiff_t>(columns));
    }
    taken.values = squeezed(kept_values);
}

size_t Samples::memory_bytes() const {
    constexpr size_t kNode = 2 * sizeof(void*) + 16;  // of a hash table
    size_t bytes = waiting_.size() * (kNode + sizeof(ChunkId) + 2 * sizeof(Sample*));
    for (const Taken& taken : taken_) {
        bytes += sizeof(Taken) + taken.values.memory_bytes() + taken.samples.capacity() * sizeof(Sample) +
                 taken.fates.memory_bytes();
    }
    return bytes;
}

Outcomes Samples::outcomes(const Target& target, int64_t now_us) const {
    Outcomes outcomes;
    outcomes.labels.reserve(row_count_);  // what grows is there twice for a while
    outcomes.weights.reserve(row_count_);
    for (const Taken& taken : taken_) {
        const bool known = taken.time_us + target.horizon_us <= now_us;
        for (const Fate& fate : fates_of(taken)) {
            const bool came = known && fate.after_us[index_of(target.op)] <= target.horizon_us;
            outcomes.labels.push_back(came ? 1.f : 0.f);
            outcomes.weights.push_back(known ? fate.weight : 0.f);
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
        for (const Fate& fate : fates_of(taken)) {
            weights.push_back(fate.weight);
        }
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
            const std::vector<Fate> fates = fates_of(taken);
            for (size_t i = 0; i < values.size(); ++i) {
                fn(sums[i % columns], static_cast<double>(values[i]), static_cast<double>(fates[i / columns].weight));
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
