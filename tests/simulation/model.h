// SPDX-License-Identifier: GPL-2.0-or-later
//
// The naive model: what every sector may hold, now and at every sequence number of the history.
//
// Requests overlap and share batches, so the model does not know the order in which the engine
// applied them; it knows bounds. Each operation has an interval in the harness's own time (invoked,
// responded) and one in sequence numbers: its batch is after `after`, the newest batch when it was
// invoked, and at most `upto`, the newest batch when it returned. Each sector of an operation is
// taken by itself: a sector is a register, and the rules are those of linearizability.
//
//   The state at sequence s may show an operation's value in a sector if after < s, unless another
//   operation on the sector that surely belongs to the state (upto <= s) was invoked only after the
//   first had returned: then the value is overwritten. One that surely belongs but is neither shown
//   nor overwritten is missing. What a read that runs by itself sees is remembered as an operation
//   of its own, so that what was once ambiguous stays as it was seen.
//
//   An operation that failed may have been done or not. Its batch may lie in the image, complete;
//   so a crash may bring it back, as if it had been in flight, unless a later batch survives.
//
//   A rollback begins a branch whose first state is the one gone back to. A crash ends at some
//   sequence number: operations after it are forgotten, and what the disk then holds is remembered.
//
// Not known here: bytes. Sectors hold values (stamp.h). The size of the disk is one more sector.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "stamp.h"

namespace predsnap::sim {

using OpId = uint32_t;

class Model {
  public:
    // `base_has_data` says of a sector whether the backing disk has data there.
    Model(uint64_t disk_sectors_max, uint64_t vm_sectors,
          std::function<bool(uint64_t)> base_has_data);

    // Slots: disk sectors, then sectors of VM state, then the size of the disk in sectors.
    uint64_t vm_slot(uint64_t sector) const { return disk_sectors_ + sector; }
    uint64_t size_slot() const { return disk_sectors_ + vm_sectors_; }
    uint64_t disk_sectors() const { return disk_sectors_; }
    uint64_t vm_sectors() const { return vm_sectors_; }

    // The image is new: holes, and a size.
    void reset(uint64_t size_sectors);

    // An operation that changes slots. Values are put before the operation is invoked in the
    // engine.
    OpId begin(uint64_t newest_sequence);
    void put(OpId op, uint64_t slot, uint64_t count, Value value);
    // It returned. If it failed it may have been done, wholly or in part, or not.
    void end(OpId op, uint64_t newest_sequence, bool ok);
    // From here on the operation counts as invoked after sequence number `after`. Used where the
    // engine tells more than the newest number.
    void known_after(OpId op, uint64_t after);
    bool is_open(OpId op) const { return ops_[op].responded == kNever; }

    // Moments in the harness's time, to tell which operations a flush or a read had to see.
    uint64_t tick() { return ++tick_; }
    // Everything that returned before `moment` must survive from now on.
    void make_durable(uint64_t moment);
    // This one, which has returned, must.
    void make_op_durable(OpId op);

    // What a read invoked at `since` and returning now may show.
    bool may_read(uint64_t slot, uint64_t since, Value observed);
    // Remembers what a read saw, if no operation on the slot overlapped it.
    void remember(uint64_t slot, uint64_t since, Value observed);
    // What a slot may hold at a sequence number.
    std::vector<Value> at(uint64_t slot, uint64_t sequence) const;
    // What it may hold now, with nothing running.
    std::vector<Value> now(uint64_t slot) const;
    bool matches(uint64_t slot, Value allowed, Value observed) const;
    bool allows(uint64_t slot, const std::vector<Value>& allowed, Value observed) const;

    // A rollback batch `first` took the disk to the state at `target`.
    void rolled_back(uint64_t first, uint64_t target);
    uint32_t branch() const { return static_cast<uint32_t>(branches_.size() - 1); }
    uint64_t branch_first(uint32_t branch) const { return branches_[branch].first; }

    // A crash took back the rollbacks after that sequence number.
    void drop_branches_after(uint64_t sequence);

    // After a crash the engine says that its newest batch is `sequence`. Checks that no operation
    // that had to survive lies beyond (if only the process died, those are all that had returned);
    // then the values that it shows are checked with check_recovered() and, when all is well, taken
    // as the base with settle(): one value for each slot, kNotSeen for those beyond the end of the
    // disk.
    std::optional<std::string> recover(uint64_t sequence, bool all_returned_survive);
    enum class Fate : uint8_t { lost, unknown, kept };
    Fate fate(OpId op) const;
    bool check_recovered(uint64_t slot, Value observed) const;
    void settle(const std::vector<Value>& observed);

    // All that is known of a slot: for messages.
    std::string explain(uint64_t slot) const;

  private:
    static constexpr uint64_t kNever = UINT64_MAX;
    struct Op {
        uint64_t invoked = 0, responded = kNever;
        uint64_t after = 0, upto = kNever;
        bool optional = false;  // failed, or cut off by a crash: it may never have happened
        bool failed = false;    // returned an error
        bool buried = false;    // so long before a flush that no crash brings it back
        bool seen = false;      // no operation of the engine: what a read saw
        bool durable = false;   // a flush that began after it returned has completed
    };
    struct Entry {
        Value value;
        OpId op;
    };
    struct Branch {
        uint64_t first = 0;  // its first sequence number
        std::vector<std::vector<Value>> base;
        std::vector<std::vector<Entry>> entries;
    };

    template <typename Surely, typename Possible>
    std::vector<Value> select(const Branch& branch, uint64_t slot, Surely surely,
                              Possible possible) const;
    bool survives(const Op& op) const;
    const Branch& branch_at(uint64_t sequence) const;
    Value resolve(uint64_t slot, const std::vector<Value>& allowed, Value observed) const;
    void record(uint64_t slot, Value value, uint64_t sequence);
    void forget_after(uint64_t sequence);
    void reopen_failed(uint64_t sequence);

    const uint64_t disk_sectors_;
    const uint64_t vm_sectors_;
    const std::function<bool(uint64_t)> base_has_data_;
    uint64_t tick_ = 0;
    uint64_t recovered_ = 0;
    bool all_returned_survive_ = false;
    std::vector<Op> ops_;
    OpId first_undurable_ = 0;  // operations before it need no look in make_durable()
    std::vector<Branch> branches_;
};

}  // namespace predsnap::sim
