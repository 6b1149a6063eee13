// SPDX-License-Identifier: GPL-2.0-or-later
#include "moment.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

namespace predsnap::predict {
namespace {

constexpr int64_t kLately = 60 * kSecond;
constexpr int64_t kStreamAlive = 60 * kSecond;
constexpr uint64_t kAheadSeen = 64, kAheadUnseen = 16;  // chunks before a stream's head
constexpr float kNearMax = 1024;                        // chunks
constexpr int64_t kDay = 86400 * kSecond;
// What only grows tells a model how late it is, which it must not learn from: the future is later still.
constexpr uint32_t kVisitsMax = 32;
constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

float log_age(int64_t last_us, int64_t now_us) {
    return last_us == kNever ? kUnknown : std::log2(1 + seconds(std::max<int64_t>(now_us - last_us, 0)));
}

float bits(uint64_t windows, uint64_t first, uint64_t count) {
    const uint64_t mask = count >= 64 ? ~0ull : (1ull << count) - 1;
    return static_cast<float>(std::popcount(windows >> first & mask));
}

}  // namespace

// In the order in which Moment::features() and Moment::whole_ write them.
std::span<const std::string_view> feature_names() {
    static constexpr std::string_view kNames[] = {
        // Of each op: read, then write.
        "read-age", "read-count-10", "read-count-60", "read-count-600", "read-count-3600", "read-count-86400",
        "read-visits", "read-gap-mean", "read-gap-spread", "read-gap-last", "read-overdue",
        "read-hazard-10", "read-hazard-60", "read-hazard-600",
        "read-windows-1", "read-windows-6", "read-windows-30", "read-windows-60", "read-length", "read-expected-next",
        "write-age", "write-count-10", "write-count-60", "write-count-600", "write-count-3600", "write-count-86400",
        "write-visits", "write-gap-mean", "write-gap-spread", "write-gap-last", "write-overdue",
        "write-hazard-10", "write-hazard-60", "write-hazard-600",
        "write-windows-1", "write-windows-6", "write-windows-30", "write-windows-60", "write-length", "write-expected-next",
        // Of the chunk.
        "sequential", "aligned", "changed", "hour-before", "recency-rank",
        "stream-distance", "stream-run",
        // Of its surroundings.
        "left-write-age", "left-write-count-600", "right-write-age", "right-write-count-600",
        "left-read-age", "right-read-age",
        "below-distance", "below-age", "above-distance", "above-age",
        "region16-write-60", "region16-write-600", "region16-write-3600", "region16-read-60", "region16-read-600",
        "region256-write-60", "region256-write-600", "region256-write-3600", "region256-read-60", "region256-read-600",
        // Of the disk.
        "disk-write-10", "disk-write-60", "disk-write-600", "disk-read-10", "disk-read-60", "disk-read-600",
        "disk-chunks-60", "hour",
        // Of what is around it.
        "io-pressure", "cpu-pressure", "weight",
    };
    return kNames;
}

class Moment::RowWriter {
  public:
    explicit RowWriter(std::span<float> row) : row_(row) {}
    void add(float value) { row_[next_++] = value; }
    void add(std::span<const float> values) {
        for (const float value : values) {
            add(value);
        }
    }
    void history(const Chunk& chunk, Op op, int64_t now_us);
    size_t count() const { return next_; }

  private:
    std::span<float> row_;
    size_t next_ = 0;
};

void Moment::RowWriter::history(const Chunk& chunk, Op op, int64_t now_us) {
    const Rhythm& rhythm = chunk.rhythm[index_of(op)];
    const float age = log_age(rhythm.last_us(), now_us);
    const uint64_t windows = rhythm.windows(now_us);
    add(age);
    add(chunk.counts[index_of(op)].at(now_us));
    add(static_cast<float>(std::min(rhythm.visits(), kVisitsMax)));
    const bool known = rhythm.gap_count() > 0;
    add(known ? rhythm.gap_mean() : kUnknown);
    add(known ? rhythm.gap_spread() : kUnknown);
    add(known ? rhythm.last_gap() : kUnknown);
    add(known ? age - rhythm.gap_mean() : kUnknown);
    for (const int64_t horizon_us : {10 * kSecond, 60 * kSecond, 600 * kSecond}) {
        add(known ? rhythm.hazard(now_us, horizon_us, 0) : kUnknown);
    }
    add(bits(windows, 0, 2));
    add(bits(windows, 0, 7));
    add(bits(windows, 0, 31));
    add(bits(windows, 0, 61));
    add(rhythm.visits() > 0 ? chunk.length[index_of(op)] : kUnknown);
}

Moment::Moment(const Activity& activity, int64_t now_us) : activity_(activity), now_us_(now_us) {
    gather(activity);
    find_ahead();
    find_near();
    rank_recency();
    follow_successors(Op::kRead);
    follow_successors(Op::kWrite);

    const FadeValues write = activity.whole().counts[1].at(now_us);
    const FadeValues read = activity.whole().counts[0].at(now_us);
    whole_.insert(whole_.end(), write.begin(), write.begin() + 3);
    whole_.insert(whole_.end(), read.begin(), read.begin() + 3);
    size_t lately = 0;
    written_600_.resize(candidates_.size());
    for (size_t i = 0; i < candidates_.size(); ++i) {
        lately += written_lately(i) ? 1 : 0;
        written_600_[i] = candidates_[i].chunk->counts[1].at(now_us)[2];
    }
    whole_.push_back(static_cast<float>(lately));
    const bool knows_days = now_us - activity.begin_us() > kDay;
    whole_.push_back(knows_days ? seconds(now_us % kDay) / 3600 : kUnknown);
    const Surroundings around = activity.surroundings(now_us);
    whole_.insert(whole_.end(), {around.io_pressure, around.cpu_pressure, around.weight});
}

// All that are remembered; and before the heads of streams, which are not.
void Moment::gather(const Activity& activity) {
    for (const Chunk& chunk : activity.chunks()) {
        candidates_.push_back({chunk.id, &chunk});
    }
    std::vector<ChunkId> unseen;
    for (const Op op : kOps) {
        for (const Stream& stream : activity.streams().of(op)) {
            if (stream.last_us == kNever || now_us_ - stream.last_us > kStreamAlive) {
                continue;
            }
            const ChunkId head = chunk_of(stream.head);
            for (ChunkId id = head; id < head + kAheadUnseen; ++id) {
                if (activity.find(id) == nullptr) {
                    unseen.push_back(id);
                }
            }
        }
    }
    std::sort(unseen.begin(), unseen.end());
    unseen.erase(std::unique(unseen.begin(), unseen.end()), unseen.end());
    for (const ChunkId id : unseen) {
        candidates_.push_back({id, &unseen_});
    }
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

void Moment::find_ahead() {
    ahead_.assign(candidates_.size(), {kUnknown, kUnknown});
    for (const Op op : kOps) {
        for (const Stream& stream : activity_.streams().of(op)) {
            if (stream.last_us == kNever || now_us_ - stream.last_us > kStreamAlive) {
                continue;
            }
            const ChunkId head = chunk_of(stream.head);
            auto at = std::lower_bound(candidates_.begin(), candidates_.end(), head,
                                       [](const Candidate& candidate, ChunkId id) { return candidate.id < id; });
            for (; at != candidates_.end() && at->id < head + kAheadSeen; ++at) {
                Ahead& ahead = ahead_[static_cast<size_t>(at - candidates_.begin())];
                const float distance = static_cast<float>(at->id - head);
                if (!(ahead.distance <= distance)) {
                    ahead = {distance, std::log2(static_cast<float>(stream.run))};
                }
            }
        }
    }
}

bool Moment::written_lately(size_t candidate) const {
    return candidates_[candidate].chunk->rhythm[1].last_us() > now_us_ - kLately;
}

void Moment::find_near() {
    const auto scan = [&](std::vector<Near>& found, bool upwards) {
        found.assign(candidates_.size(), {kNearMax, kUnknown});
        size_t near = SIZE_MAX;
        for (size_t step = 0; step < candidates_.size(); ++step) {
            const size_t i = upwards ? step : candidates_.size() - 1 - step;
            if (near != SIZE_MAX) {
                const ChunkId a = candidates_[i].id, b = candidates_[near].id;
                const float distance = static_cast<float>(a > b ? a - b : b - a);
                found[i] = {std::min(distance, kNearMax),
                            log_age(candidates_[near].chunk->rhythm[1].last_us(), now_us_)};
            }
            near = written_lately(i) ? i : near;
        }
    };
    scan(below_, true);
    scan(above_, false);
}

// Of each chunk: log2 of how many others were written since.
void Moment::rank_recency() {
    std::vector<std::pair<int64_t, uint32_t>> order(candidates_.size());
    for (uint32_t i = 0; i < order.size(); ++i) {
        order[i] = {-candidates_[i].chunk->rhythm[1].last_us(), i};
    }
    std::sort(order.begin(), order.end());
    recency_rank_.resize(order.size());
    for (size_t rank = 0; rank < order.size(); ++rank) {
        recency_rank_[order[rank].second] = std::log2(1 + static_cast<float>(rank));
    }
}

void Moment::follow_successors(Op op) {
    std::vector<float> by_slot(activity_.chunks().size());
    for (const Chunk& chunk : activity_.chunks()) {
        const Successors& after = chunk.after[index_of(op)];
        if (chunk.rhythm[index_of(op)].last_us() <= now_us_ - kLately || after.total() == 0) {
            continue;
        }
        for (const Successors::Entry& entry : after.entries()) {
            if (entry.slot != UINT32_MAX) {
                by_slot[entry.slot] += entry.count / after.total();
            }
        }
    }
    std::vector<float>& expected = expected_next_[index_of(op)];
    expected.resize(candidates_.size());
    for (size_t i = 0; i < candidates_.size(); ++i) {
        const Chunk* chunk = candidates_[i].chunk;
        expected[i] = chunk == &unseen_ ? 0 : by_slot[static_cast<size_t>(chunk - activity_.chunks().data())];
    }
}

const std::array<float, 5>& Moment::region_values(size_t size, ChunkId id) const {
    RegionMemo& memo = memos_[size];
    if (memo.region != id >> kRegionShifts[size]) {
        memo = {id >> kRegionShifts[size], {}};
        if (const Region* region = activity_.region(size, id)) {
            const FadeValues write = region->counts[1].at(now_us_), read = region->counts[0].at(now_us_);
            memo.values = {write[1], write[2], write[3], read[1], read[2]};
        }
    }
    return memo.values;
}

void Moment::features(size_t i, std::span<float> row) const {
    const Chunk& chunk = *candidates_[i].chunk;
    const ChunkId id = candidates_[i].id;
    RowWriter writer(row);
    for (const Op op : kOps) {
        writer.history(chunk, op, now_us_);
        writer.add(expected_next_[index_of(op)][i]);
    }

    writer.add(chunk.sequential);
    writer.add(chunk.aligned);
    writer.add(chunk.changed < 0 ? kUnknown : chunk.changed);
    writer.add(static_cast<float>(chunk.hours_before >> (now_us_ / (3600 * kSecond) % 24) & 1));
    writer.add(recency_rank_[i]);
    writer.add(std::array{ahead_[i].distance, ahead_[i].run});

    const bool has_left = i > 0 && candidates_[i - 1].id + 1 == id;
    const bool has_right = i + 1 < candidates_.size() && candidates_[i + 1].id == id + 1;
    const Chunk& left = has_left ? *candidates_[i - 1].chunk : unseen_;
    const Chunk& right = has_right ? *candidates_[i + 1].chunk : unseen_;
    writer.add(log_age(left.rhythm[1].last_us(), now_us_));
    writer.add(has_left ? written_600_[i - 1] : 0);
    writer.add(log_age(right.rhythm[1].last_us(), now_us_));
    writer.add(has_right ? written_600_[i + 1] : 0);
    writer.add(log_age(left.rhythm[0].last_us(), now_us_));
    writer.add(log_age(right.rhythm[0].last_us(), now_us_));
    writer.add(std::array{below_[i].distance, below_[i].age, above_[i].distance, above_[i].age});
    for (size_t size = 0; size < kRegionShifts.size(); ++size) {
        writer.add(region_values(size, id));
    }
    writer.add(whole_);
    assert(writer.count() == feature_names().size());
}

}  // namespace predsnap::predict
