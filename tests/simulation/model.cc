// SPDX-License-Identifier: GPL-2.0-or-later
#include "model.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace predsnap::sim {

Model::Model(uint64_t disk_sectors_max, uint64_t vm_sectors,
             std::function<bool(uint64_t)> base_has_data)
    : disk_sectors_(disk_sectors_max),
      vm_sectors_(vm_sectors),
      base_has_data_(std::move(base_has_data)) {}

void Model::reset(uint64_t size_sectors) {
    ops_.clear();
    first_undurable_ = 0;
    Branch branch;
    branch.base.assign(size_slot() + 1, {kHole});
    branch.base[size_slot()] = {size_sectors};
    branch.entries.resize(size_slot() + 1);
    branches_.clear();
    branches_.push_back(std::move(branch));
}

OpId Model::begin(uint64_t newest_sequence) {
    Op op;
    op.invoked = tick();
    op.after = newest_sequence;
    ops_.push_back(op);
    return static_cast<OpId>(ops_.size() - 1);
}

void Model::put(OpId op, uint64_t slot, uint64_t count, Value value) {
    assert(slot + count <= size_slot() + 1);
    for (uint64_t i = 0; i < count; ++i) {
        branches_.back().entries[slot + i].push_back({value, op});
    }
}

void Model::end(OpId op, uint64_t newest_sequence, bool ok) {
    ops_[op].responded = tick();
    ops_[op].upto = newest_sequence;
    ops_[op].optional = ops_[op].failed = !ok;
}

void Model::known_after(OpId op, uint64_t after) {
    assert(after >= ops_[op].after);
    ops_[op].after = after;
}

void Model::make_op_durable(OpId op) {
    assert(!is_open(op) && !ops_[op].optional);
    ops_[op].durable = true;
}

void Model::make_durable(uint64_t moment) {
    for (OpId id = first_undurable_; id < ops_.size(); ++id) {
        Op& op = ops_[id];
        op.durable = op.durable || (op.responded < moment && !op.optional);
        op.buried = op.buried || (op.failed && op.responded < moment);
        const bool settled = op.durable || (op.optional && op.responded != kNever);
        if (settled && id == first_undurable_) {
            ++first_undurable_;
        }
    }
}

// The values that operations which possibly belong to a state give a slot, less those that one
// which surely belongs to it has overwritten.
template <typename Surely, typename Possible>
std::vector<Value> Model::select(const Branch& branch, uint64_t slot, Surely surely,
                                 Possible possible) const {
    bool overwritten = false;  // the base is
    uint64_t newest = 0;
    for (const Entry& entry : branch.entries[slot]) {
        const Op& op = ops_[entry.op];
        if (surely(op) && !op.optional) {
            overwritten = true;
            newest = std::max(newest, op.invoked);
        }
    }
    std::vector<Value> values;
    if (!overwritten) {
        values = branch.base[slot];
    }
    for (const Entry& entry : branch.entries[slot]) {
        const Op& op = ops_[entry.op];
        if (possible(op) && op.responded >= newest &&
            std::find(values.begin(), values.end(), entry.value) == values.end()) {
            values.push_back(entry.value);
        }
    }
    return values;
}

const Model::Branch& Model::branch_at(uint64_t sequence) const {
    const auto after = std::find_if(branches_.begin() + 1, branches_.end(),
                                    [&](const Branch& branch) { return branch.first > sequence; });
    return *(after - 1);
}

std::vector<Value> Model::at(uint64_t slot, uint64_t sequence) const {
    return select(
        branch_at(sequence), slot, [&](const Op& op) { return op.upto <= sequence; },
        [&](const Op& op) { return op.after < sequence || op.upto <= sequence; });
}

std::vector<Value> Model::now(uint64_t slot) const {
    return select(
        branches_.back(), slot, [](const Op& op) { return op.responded != kNever; },
        [](const Op&) { return true; });
}

bool Model::may_read(uint64_t slot, uint64_t since, Value observed) {
    const auto allowed = select(
        branches_.back(), slot, [&](const Op& op) { return op.responded < since; },
        [](const Op&) { return true; });
    return allows(slot, allowed, observed);
}

bool Model::matches(uint64_t slot, Value allowed, Value observed) const {
    if (allowed == observed || slot >= size_slot()) {
        return allowed == observed;
    }
    const bool base_data = slot < disk_sectors_ && base_has_data_(slot);
    return observed == kZero && !base_data && (allowed == kHole || allowed == kZeroOrHole);
}

bool Model::allows(uint64_t slot, const std::vector<Value>& allowed, Value observed) const {
    return std::any_of(allowed.begin(), allowed.end(),
                       [&](Value value) { return matches(slot, value, observed); });
}

// Which of the allowed values was observed. Zeros may be either of two.
Value Model::resolve(uint64_t slot, const std::vector<Value>& allowed, Value observed) const {
    if (observed != kZero) {
        return observed;
    }
    Value found = kBadContent;
    for (const Value value : allowed) {
        if (matches(slot, value, observed)) {
            found = found == kBadContent || found == value ? value : kZeroOrHole;
        }
    }
    return found;
}

void Model::record(uint64_t slot, Value value, uint64_t sequence) {
    const OpId op = begin(std::max<uint64_t>(sequence, 1) - 1);
    ops_[op].seen = true;
    put(op, slot, 1, value);
    end(op, sequence, true);
}

void Model::remember(uint64_t slot, uint64_t since, Value observed) {
    const Branch& branch = branches_.back();
    uint64_t sequence = branch.first;
    for (const Entry& entry : branch.entries[slot]) {
        const Op& op = ops_[entry.op];
        if (op.responded >= since) {
            return;
        }
        sequence = std::max(sequence, op.upto);
    }
    const std::vector<Value> allowed = now(slot);
    if (allowed.size() > 1) {
        record(slot, resolve(slot, allowed, observed), sequence);
    }
}

void Model::rolled_back(uint64_t first, uint64_t target) {
    Branch branch;
    branch.first = first;
    branch.base.resize(size_slot() + 1);
    for (uint64_t slot = 0; slot <= size_slot(); ++slot) {
        branch.base[slot] = at(slot, target);
    }
    branch.entries.resize(size_slot() + 1);
    branches_.push_back(std::move(branch));
}

// Whether the crash that is being recovered from must have left the operation alone.
bool Model::survives(const Op& op) const {
    return op.durable || (all_returned_survive_ && op.responded != kNever && !op.optional);
}

void Model::drop_branches_after(uint64_t sequence) {
    while (branches_.back().first > sequence) {
        branches_.pop_back();
    }
}

std::optional<std::string> Model::recover(uint64_t sequence, bool all_returned_survive) {
    all_returned_survive_ = all_returned_survive;
    for (const Op& op : ops_) {
        if (survives(op) && op.after >= sequence && op.upto > sequence) {
            return "recovered at sequence " + std::to_string(sequence) +
                   ", but an operation that " +
                   (op.durable ? "is durable" : "had returned before the process died") +
                   " came after sequence " + std::to_string(op.after);
        }
    }
    drop_branches_after(sequence);
    recovered_ = sequence;
    reopen_failed(sequence);
    return std::nullopt;
}

// Failed operations count as in flight at the crash, unless one that came after them survived: its
// batch took their number, or a later one. If they may be back, numbers from theirs on may mean
// their batches and not the later ones that took those numbers.
void Model::reopen_failed(uint64_t sequence) {
    uint64_t newest = 0;
    for (const Op& op : ops_) {
        newest = survives(op) && !op.seen ? std::max(newest, op.invoked) : newest;
    }
    uint64_t doubtful = kNever;
    for (Op& op : ops_) {
        if (op.failed && !op.buried && op.responded > newest && op.after < sequence) {
            op.responded = op.upto = kNever;
            doubtful = std::min(doubtful, op.after);
        }
    }
    for (Op& op : ops_) {
        if (op.upto > doubtful && !survives(op)) {
            op.upto = kNever;
        }
    }
}

Model::Fate Model::fate(OpId id) const {
    const Op& op = ops_[id];
    if ((op.after >= recovered_ && op.upto > recovered_) || (op.failed && op.responded != kNever)) {
        return Fate::lost;
    }
    return (op.upto <= recovered_ || survives(op)) && !op.optional ? Fate::kept : Fate::unknown;
}

bool Model::check_recovered(uint64_t slot, Value observed) const {
    const auto allowed = select(
        branches_.back(), slot, [&](const Op& op) { return survives(op) || op.upto <= recovered_; },
        [&](const Op& op) { return op.after < recovered_ || op.upto <= recovered_; });
    return allows(slot, allowed, observed);
}

void Model::settle(const std::vector<Value>& observed) {
    forget_after(recovered_);
    const OpId op = begin(std::max<uint64_t>(recovered_, 1) - 1);
    for (uint64_t slot = 0; slot < observed.size(); ++slot) {
        const std::vector<Value> allowed = at(slot, recovered_);
        if (allowed.size() > 1 && observed[slot] != kNotSeen) {
            put(op, slot, 1, resolve(slot, allowed, observed[slot]));
        }
    }
    end(op, recovered_, true);
}

// What the crash cut off can no longer happen; what it may have left is done with.
void Model::forget_after(uint64_t sequence) {
    for (auto& entries : branches_.back().entries) {
        std::erase_if(entries,
                      [&](const Entry& entry) { return ops_[entry.op].after >= sequence; });
    }
    for (Op& op : ops_) {
        if (op.after >= sequence || op.upto > sequence) {
            op.upto = sequence;
            op.optional = !survives(op);
            op.failed = false;
            op.responded = std::min(op.responded, tick());
        }
    }
}

std::string Model::explain(uint64_t slot) const {
    std::string text;
    for (const Branch& branch : branches_) {
        text += "\n  branch from " + std::to_string(branch.first) + ", base:";
        for (const Value value : branch.base[slot]) {
            text += " " + describe_value(value);
        }
        for (const Entry& entry : branch.entries[slot]) {
            const Op& op = ops_[entry.op];
            text += "\n    " + describe_value(entry.value) + ": sequence in (" +
                    std::to_string(op.after) + ", " +
                    (op.upto == kNever ? "open" : std::to_string(op.upto)) + "], from " +
                    std::to_string(op.invoked) + " to " +
                    (op.responded == kNever ? "open" : std::to_string(op.responded)) +
                    (op.optional ? ", may not have happened" : "") +
                    (op.durable ? ", durable" : "");
        }
    }
    return text;
}

}  // namespace predsnap::sim
