// SPDX-License-Identifier: GPL-2.0-or-later
#include "judge.h"

#include <algorithm>

namespace predsnap {

namespace {

constexpr uint8_t kHalf = 128;

double likely(uint8_t probability) { return probability / 255.0; }

void list(Judged& judged, uint8_t probability) {
    const double p = likely(probability);
    judged.predicted += probability >= kHalf;
    judged.expected += p;
    judged.brier += p * p;  // as long as it is not used
}

void note_use(Judged& judged, uint8_t probability, bool listed) {
    const double p = likely(probability);
    judged.came_true += listed && probability >= kHalf;
    ++judged.used;
    judged.brier += (1 - p) * (1 - p) - p * p;
}

Judged mean(Judged judged, uint64_t of) {
    judged.brier = std::max(0.0, judged.brier / static_cast<double>(std::max<uint64_t>(of, 1)));
    return judged;
}

}  // namespace

Judge::Judge(ChunkTable listed, std::string model, Sequence base, int64_t since_us, int64_t horizon_us)
    : table_(std::move(listed)),
      model_(std::move(model)),
      base_(base),
      since_us_(since_us),
      horizon_us_(horizon_us),
      listed_(table_.size()) {
    table_.for_each([&](const ChunkTable::Entry& entry) {
        list(writes_, entry.write);
        list(reads_, entry.read);
    });
}

void Judge::used(uint64_t chunk, uint8_t how) {
    const size_t before = table_.size();
    ChunkTable::Entry* const entry = table_.claim(chunk);
    if (entry == nullptr) {
        return;
    }
    if (table_.size() > before) {
        entry->seen = ChunkTable::kUnlisted;
    }
    if ((entry->seen & how) != 0) {
        return;
    }
    entry->seen |= how;
    const bool listed = (entry->seen & ChunkTable::kUnlisted) == 0;
    if (how == ChunkTable::kWritten) {
        note_use(writes_, entry->write, listed);
        unlisted_writes_ += !listed;
    } else {
        note_use(reads_, entry->read, listed);
        unlisted_reads_ += !listed;
    }
}

Judgement Judge::judgement(int64_t now_us, bool cut_short) const {
    Judgement result;
    result.model = model_;
    result.base = base_;
    result.horizon_us = horizon_us_;
    result.elapsed_us = std::clamp<int64_t>(now_us - since_us_, 0, horizon_us_);
    result.finished = over(now_us);
    result.cut_short = cut_short && !result.finished;
    result.chunks = listed_;
    result.writes = mean(writes_, listed_ + unlisted_writes_);
    result.reads = mean(reads_, listed_ + unlisted_reads_);
    return result;
}

}  // namespace predsnap
