// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is said of the near future: the newest set of predictions, as long as it holds, and hints; and what becomes of
// them. When there is none, or it is stale, the built-in rules (granularity.h) serve. A set is stale when its horizon has
// passed, counted from the state it is based on, and when the disk was rolled back since then.
//
// Sets are checked and laid out without the lock (prepare), and what they replace is freed without it. All else is not
// synchronised: Core::mutex guards it. Costs nothing for each request while nothing is predicted.
#pragma once

#include <deque>
#include <memory>

#include "chunk_table.h"
#include "hints.h"
#include "host.h"
#include "judge.h"
#include "result.h"

namespace predsnap {

// Why a block is in the staging cache, or looked for there.
enum class Staged : uint8_t {
    rewrite = 0,   // the next write to it may be a delta
    read = 1,      // it is read again and again
    prefetch = 2,  // it was not asked for yet
};

class Forecast {
  public:
    explicit Forecast(Host& host) : host_(host) {}

    struct Prepared {
        PredictionSet set;  // but for the predictions
        std::shared_ptr<const ChunkTable> table;
        std::unique_ptr<Judge> judge;  // null if another set is being judged
    };
    // Errors: EINVAL for what makes no sense, E2BIG for too much. Any thread; without the lock.
    static Result<Prepared> prepare(PredictionSet set, uint64_t disk_size, bool judged, int64_t now_us);

    // --- Require Core::mutex ---
    bool judging() const { return judge_ != nullptr; }
    // Replaces the set in place; leaves in `prepared` what is to be freed. Errors: ESTALE for one that comes too late,
    // EINVAL for one that is not of this disk.
    Result<void> adopt(Prepared& prepared, Sequence newest);
    void refused() { ++refused_; }
    void add_hint(const Hint& hint) { hints_.add(hint, host_.uptime_us()); }
    void set_use(const PredictionUse& use) { use_ = use; }
    // The disk is another one now: what was predicted is not of it. `sequence`: of the rollback.
    void rolled_back(Sequence sequence);

    // A request of the guest. `newest`, `time`: of the disk.
    void note(uint8_t how, Sector from, uint64_t sectors, Sequence newest, Time time) {
        if (elapsed_us(marked_, time) >= kMarkUs || time < marked_) {
            mark(newest, time);
        }
        if (active_) {
            note_use(how, from, sectors);
        }
    }

    // How relevant a block is to the staging cache, from 0 to 1, by what is said of it; nothing if nothing is. What is
    // predicted of a chunk may be the very read that brings a block in: of one that was not used `again`, it says less.
    std::optional<float> relevance(Sector block, Staged purpose, bool again = true);
    // Whether there is a set that holds and decides about staging: what is not in it is unlikely to be used.
    bool decides_staging() { return use_.staging && fresh(); }
    // Whether writes to the chunk are said to be worth logging as what differs, or not worth it.
    std::optional<bool> fine(Sector block);
    // Whether the chunk is said to be written more likely than not.
    bool written_soon(Sector block);
    // Bytes a second that the guest is said to write.
    std::optional<double> write_rate();

    // What holds now; null if nothing does.
    struct Current {
        std::shared_ptr<const ChunkTable> table;
        std::string model;
        Sequence base;
    };
    Current current();
    // Judges what was predicted when a snapshot was made.
    void judge_snapshot(uint64_t id, std::unique_ptr<Judge> judge);
    std::vector<SnapshotForecast> snapshot_forecasts();
    PredictionInfo info();

  private:
    static constexpr int64_t kMarkUs = 1'000'000;
    // When a state was the newest.
    struct Mark {
        Sequence sequence;
        int64_t uptime_us;
    };
    struct SnapshotJudge {
        uint64_t id;
        std::unique_ptr<Judge> judge;
    };
    bool fresh();
    const ChunkTable::Entry* find(Sector block) { return fresh() ? table_->find(block.value / kChunkSectors) : nullptr; }
    void mark(Sequence newest, Time time);
    void note_use(uint8_t how, Sector from, uint64_t sectors);
    void update();
    int64_t age_of(Sequence base, Sequence newest, int64_t now_us) const;
    void keep_result(uint64_t id, const Judgement& judgement);

    Host& host_;
    PredictionUse use_;
    bool active_ = false;  // there is anything that requests may change, or outlive
    int64_t now_us_ = 0;   // when that was looked at last
    Time marked_{INT64_MIN / 2};
    std::deque<Mark> marks_;
    Sequence last_rollback_;

    bool given_ = false;
    PredictionSet set_;    // the newest, but for the predictions
    std::shared_ptr<const ChunkTable> table_;  // null: it does not hold any more
    int64_t made_us_ = 0;
    uint64_t accepted_ = 0, refused_ = 0, expired_ = 0, listed_ = 0;
    Hints hints_;

    std::unique_ptr<Judge> judge_;
    std::optional<Judgement> judged_;
    std::deque<SnapshotJudge> snapshot_judges_;
    std::deque<SnapshotForecast> results_;
};

}  // namespace predsnap
