// SPDX-License-Identifier: GPL-2.0-or-later
//
// Judges predictions by what the guest does until their horizon has passed. Not synchronised: Core::mutex guards it.
#pragma once

#include "chunk_table.h"
#include "prediction.h"

namespace predsnap {

class Judge {
  public:
    // Chunks that are used though nobody listed them, as far as they are counted one by one. The table needs room for
    // them, too.
    static constexpr size_t kMaxUnlisted = 64 << 10;

    // Takes time in proportion to the table.
    Judge(ChunkTable listed, std::string model, Sequence base, int64_t since_us, int64_t horizon_us);

    void used(uint64_t chunk, uint8_t how);  // ChunkTable::kWritten or kRead
    bool over(int64_t now_us) const { return now_us - since_us_ >= horizon_us_; }
    int64_t until_us() const { return since_us_ + horizon_us_; }
    Judgement judgement(int64_t now_us, bool cut_short) const;

  private:
    ChunkTable table_;
    std::string model_;
    Sequence base_;
    int64_t since_us_, horizon_us_;
    uint64_t listed_ = 0;
    // In which brier is a sum.
    Judged writes_, reads_;
    uint64_t unlisted_writes_ = 0, unlisted_reads_ = 0;
};

}  // namespace predsnap
