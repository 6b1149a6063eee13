// SPDX-License-Identifier: GPL-2.0-or-later
#include "forecast.h"

#include <algorithm>
#include <cmath>

#include "text.h"

namespace predsnap {

namespace {

constexpr size_t kMaxMarks = 1024;
// Snapshots that wait for their horizon at a time, and results that are kept.
constexpr size_t kMaxSnapshotJudges = 8;
constexpr size_t kMaxResults = 64;
constexpr double kMaxWriteRate = 1e12;
// Below that share of changed bytes deltas pay, above the other one they do not; between them the built-in rules decide.
constexpr unsigned kSmallShare = 254 / 4;
constexpr unsigned kLargeShare = 254 * 2 / 5;
// And chunks have to be so likely to be written.
constexpr unsigned kLikelyWritten = 255 / 4;
constexpr unsigned kMoreLikelyThanNot = 255 / 2 + 1;
// What a prediction of a read counts for a block that was read once.
constexpr float kOnce = 0.5f;

bool is_share(double value) { return value >= 0 && value <= 1; }  // not so for what is no number

uint8_t scaled(double share, double most) { return static_cast<uint8_t>(std::lround(share * most)); }

Result<void> check(const Prediction& prediction, size_t index, uint64_t disk_size) {
    if (prediction.length == 0 || prediction.length > disk_size || prediction.offset > disk_size - prediction.length) {
        return Error{EINVAL, text("prediction %zu, %llu bytes at %llu, is not within the disk of %llu bytes", index,
                                  static_cast<ull>(prediction.length), static_cast<ull>(prediction.offset),
                                  static_cast<ull>(disk_size))};
    }
    if (!is_share(prediction.write) || !is_share(prediction.read) || !is_share(prediction.change.value_or(0))) {
        return Error{EINVAL, text("prediction %zu: write, read and change are from 0 to 1", index)};
    }
    return {};
}

uint64_t first_chunk(const Prediction& p) { return p.offset / kChunkBytes; }
uint64_t last_chunk(const Prediction& p) { return (p.offset + p.length - 1) / kChunkBytes; }

Result<void> check(const PredictionSet& set) {
    if (set.model.empty() || set.model.size() > kMaxModelName) {
        return Error{EINVAL, text("the model's name has 1 to %zu bytes", kMaxModelName)};
    }
    if (set.horizon_us <= 0 || set.horizon_us > kMaxHorizonUs) {
        return Error{EINVAL, text("the horizon is more than 0 and at most %lld seconds",
                                  static_cast<long long>(kMaxHorizonUs / 1'000'000))};
    }
    if (set.write_rate && !(*set.write_rate >= 0 && *set.write_rate <= kMaxWriteRate)) {
        return Error{EINVAL, "the write rate is in bytes a second, from 0 to 1e12"};
    }
    if (set.predictions.size() > kMaxPredictions) {
        return Error{E2BIG, text("%zu predictions are too many: send the %zu that matter most",
                                 set.predictions.size(), kMaxPredictions)};
    }
    return {};
}

// How many chunks they are of, those in several counted as often.
Result<size_t> count_chunks(const PredictionSet& set, uint64_t disk_size) {
    uint64_t chunks = 0;
    for (size_t i = 0; i < set.predictions.size(); ++i) {
        TRY(check(set.predictions[i], i, disk_size));
        chunks += last_chunk(set.predictions[i]) - first_chunk(set.predictions[i]) + 1;
        if (chunks > kMaxPredictedChunks) {
            return Error{E2BIG, text("predictions of more than %zu chunks of 64 KiB are too many: send those that matter "
                                     "most", kMaxPredictedChunks)};
        }
    }
    return static_cast<size_t>(chunks);
}

ChunkTable lay_out(const PredictionSet& set, size_t chunks) {
    ChunkTable table(chunks);
    for (const Prediction& prediction : set.predictions) {
        for (uint64_t chunk = first_chunk(prediction); chunk <= last_chunk(prediction); ++chunk) {
            if (ChunkTable::Entry* const entry = table.claim(chunk)) {
                entry->write = scaled(prediction.write, 255);
                entry->read = scaled(prediction.read, 255);
                entry->change = prediction.change ? scaled(*prediction.change, 254) : ChunkTable::kNoChange;
            }
        }
    }
    return table;
}

}  // namespace

Result<Forecast::Prepared> Forecast::prepare(PredictionSet set, uint64_t disk_size, bool judged, int64_t now_us) {
    TRY(check(set));
    TRY_ASSIGN(const size_t chunks, count_chunks(set, disk_size));
    Prepared prepared;
    prepared.table = std::make_shared<const ChunkTable>(lay_out(set, chunks));
    if (judged) {
        prepared.judge = std::make_unique<Judge>(lay_out(set, chunks + Judge::kMaxUnlisted), set.model, set.base,
                                                 now_us, set.horizon_us);
    }
    std::vector<Prediction>().swap(set.predictions);  // without exceptions, shrink_to_fit() does nothing
    prepared.set = std::move(set);
    return prepared;
}

// How long ago others came after that state; at least, if nobody knows any more.
int64_t Forecast::age_of(Sequence base, Sequence newest, int64_t now_us) const {
    if (base >= newest) {
        return 0;
    }
    const auto later = std::find_if(marks_.begin(), marks_.end(), [&](const Mark& m) { return m.sequence > base; });
    return later == marks_.end() ? 0 : now_us - later->uptime_us;
}

Result<void> Forecast::adopt(Prepared& prepared, Sequence newest) {
    const PredictionSet& set = prepared.set;
    const int64_t now = host_.uptime_us();
    if (set.base > newest) {
        return Error{EINVAL, text("base-sequence %llu lies ahead of the newest state, %llu: are they of another disk?",
                                  static_cast<ull>(set.base.value), static_cast<ull>(newest.value))};
    }
    if (set.base < last_rollback_) {
        return Error{ESTALE, text("base-sequence %llu is older than the rollback at %llu: make predictions anew",
                                  static_cast<ull>(set.base.value), static_cast<ull>(last_rollback_.value))};
    }
    if (fresh() && set.base < set_.base) {
        return Error{ESTALE, text("base-sequence %llu is older than that of the predictions in place, %llu",
                                  static_cast<ull>(set.base.value), static_cast<ull>(set_.base.value))};
    }
    const int64_t age = age_of(set.base, newest, now);
    if (age >= set.horizon_us) {
        return Error{ESTALE, text("the predictions come too late: state %llu is %lld ms old, the horizon is %lld ms",
                                  static_cast<ull>(set.base.value), static_cast<long long>(age / 1000),
                                  static_cast<long long>(set.horizon_us / 1000))};
    }
    std::swap(set_, prepared.set);
    std::swap(table_, prepared.table);
    listed_ = table_->size();
    made_us_ = now - age;
    given_ = active_ = true;
    now_us_ = now;
    ++accepted_;
    if (judge_ == nullptr) {
        std::swap(judge_, prepared.judge);
    }
    return {};
}

void Forecast::rolled_back(Sequence sequence) {
    const int64_t now = host_.uptime_us();
    last_rollback_ = sequence;
    expired_ += table_ != nullptr;
    table_.reset();
    if (judge_ != nullptr) {
        judged_ = judge_->judgement(now, true);
        judge_.reset();
    }
    for (const SnapshotJudge& snapshot : snapshot_judges_) {
        keep_result(snapshot.id, snapshot.judge->judgement(now, true));
    }
    snapshot_judges_.clear();
    update();
}

bool Forecast::fresh() {
    if (table_ == nullptr) {
        return false;
    }
    if (now_us_ - made_us_ < set_.horizon_us) {
        return true;
    }
    table_.reset();
    ++expired_;
    return false;
}

void Forecast::mark(Sequence newest, Time time) {
    marked_ = time;
    if (!marks_.empty() && marks_.back().sequence == newest) {
        return;
    }
    marks_.push_back({newest, host_.uptime_us()});
    if (marks_.size() > kMaxMarks) {
        marks_.pop_front();
    }
}

// What has come to its end, ends.
void Forecast::update() {
    now_us_ = host_.uptime_us();
    fresh();
    if (judge_ != nullptr && judge_->over(now_us_)) {
        judged_ = judge_->judgement(now_us_, false);
        judge_.reset();
    }
    for (size_t i = 0; i < snapshot_judges_.size();) {
        if (snapshot_judges_[i].judge->over(now_us_)) {
            keep_result(snapshot_judges_[i].id, snapshot_judges_[i].judge->judgement(now_us_, false));
            snapshot_judges_.erase(snapshot_judges_.begin() + static_cast<ptrdiff_t>(i));
        } else {
            ++i;
        }
    }
    active_ = table_ != nullptr || judge_ != nullptr || !snapshot_judges_.empty();
}

void Forecast::note_use(uint8_t how, Sector from, uint64_t sectors) {
    update();
    if (sectors == 0 || from >= kVmStateBase || (judge_ == nullptr && snapshot_judges_.empty())) {
        return;
    }
    const uint64_t last = (from.value + sectors - 1) / kChunkSectors;
    for (uint64_t chunk = from.value / kChunkSectors; chunk <= last; ++chunk) {
        if (judge_ != nullptr) {
            judge_->used(chunk, how);
        }
        for (const SnapshotJudge& snapshot : snapshot_judges_) {
            snapshot.judge->used(chunk, how);
        }
    }
}

std::optional<float> Forecast::relevance(Sector block, Staged purpose, bool again) {
    const bool for_write = purpose == Staged::rewrite;
    if (!hints_.empty()) {
        const Hints::Relevance hinted = hints_.find(block.value / kChunkSectors, host_.uptime_us());
        if (const auto& score = for_write ? hinted.write : hinted.read) {
            return score;
        }
    }
    const ChunkTable::Entry* const entry = use_.staging ? find(block) : nullptr;
    if (entry == nullptr) {
        return {};
    }
    const float likely = static_cast<float>(for_write ? entry->write : entry->read) / 255;
    return purpose == Staged::read && !again ? likely * kOnce : likely;
}

std::optional<bool> Forecast::fine(Sector block) {
    const ChunkTable::Entry* const entry = use_.granularity ? find(block) : nullptr;
    if (entry == nullptr || entry->change == ChunkTable::kNoChange) {
        return {};
    }
    if (entry->change > kLargeShare) {
        return false;
    }
    return entry->change <= kSmallShare && entry->write >= kLikelyWritten ? std::optional(true) : std::nullopt;
}

bool Forecast::written_soon(Sector block) {
    const ChunkTable::Entry* const entry = use_.placement ? find(block) : nullptr;
    return entry != nullptr && entry->write >= kMoreLikelyThanNot;
}

std::optional<double> Forecast::write_rate() {
    if (table_ != nullptr) {
        update();
    }
    return use_.pool && fresh() ? set_.write_rate : std::nullopt;
}

Forecast::Current Forecast::current() {
    update();
    return {table_, set_.model, set_.base};
}

void Forecast::judge_snapshot(uint64_t id, std::unique_ptr<Judge> judge) {
    update();
    if (snapshot_judges_.size() == kMaxSnapshotJudges) {
        keep_result(snapshot_judges_.front().id, snapshot_judges_.front().judge->judgement(now_us_, true));
        snapshot_judges_.pop_front();
    }
    snapshot_judges_.push_back({id, std::move(judge)});
    active_ = true;
}

void Forecast::keep_result(uint64_t id, const Judgement& judgement) {
    results_.push_back({id, judgement});
    if (results_.size() > kMaxResults) {
        results_.pop_front();
    }
}

std::vector<SnapshotForecast> Forecast::snapshot_forecasts() {
    update();
    std::vector<SnapshotForecast> all(results_.begin(), results_.end());
    for (const SnapshotJudge& snapshot : snapshot_judges_) {
        all.push_back({snapshot.id, snapshot.judge->judgement(now_us_, false)});
    }
    return all;
}

PredictionInfo Forecast::info() {
    update();
    hints_.expire(now_us_);
    PredictionInfo info;
    info.source = table_ != nullptr ? PredictionInfo::Source::predictions : PredictionInfo::Source::heuristic;
    info.use = use_;
    info.given = given_;
    info.model = set_.model;
    info.base = set_.base;
    info.horizon_us = set_.horizon_us;
    info.age_us = given_ ? now_us_ - made_us_ : 0;
    info.chunks = given_ ? listed_ : 0;
    info.write_rate = given_ ? set_.write_rate : std::nullopt;
    info.accepted = accepted_;
    info.refused = refused_;
    info.expired = expired_;
    info.hints = hints_.size();
    for (const SnapshotJudge& snapshot : snapshot_judges_) {
        info.wanted_horizon_us = std::max(info.wanted_horizon_us,
                                          static_cast<uint64_t>(snapshot.judge->until_us() - now_us_));
    }
    info.judging = judge_ != nullptr ? std::optional(judge_->judgement(now_us_, false)) : std::nullopt;
    info.judged = judged_;
    return info;
}

}  // namespace predsnap
