// SPDX-License-Identifier: GPL-2.0-or-later
//
// What requests do to get into the log: each joins the open batch, fills its part of it without the lock, and waits until the
// batch is settled; the first to join leads it there (log.cc).
#include <cassert>
#include <cstring>

#include "apply.h"
#include "checksum.h"
#include "log.h"

namespace predsnap {

namespace {

// Segments past the image's end that batches may go to which are not sealed yet.
constexpr uint32_t kSegmentsAhead = 16;

}  // namespace

void Log::pass_gate(Lock& lock) {
    while (gate_closed_) {
        gate_waiters_.wait(core_.host, lock);
    }
}

Result<Sequence> Log::append_data(Sector start, std::span<const iovec> buffers, size_t skip,
                                  uint64_t sectors) {
    assert(sectors > 0 && sectors <= max_request_sectors());
    Lock lock(core_.mutex);
    pass_gate(lock);
    Joined joined = join({.sectors = sectors, .entries = 1});
    Batch& batch = *joined.batch;
    const Batch::Slot slot = batch.add_data(start, sectors);
    ++batch.filling;
    uint8_t* payload = batch.payload();
    lock.unlock();

    uint32_t sums[kMaxDataSectors / kSectorsPerBlock + 2];
    fill(payload, slot, start, sectors, buffers, skip, sums);

    lock.lock();
    batch.set_sums(slot, sums, unit_count(start, sectors));
    filled(batch);
    return complete(std::move(joined), lock);
}

// Copies a request's data into its slot, and computes the checksums of its units.
void Log::fill(uint8_t* payload, const Batch::Slot& slot, Sector start, uint64_t sectors,
               std::span<const iovec> buffers, size_t skip, uint32_t* sums) {
    std::memset(payload + slot.gap, 0, slot.begin - slot.gap);
    copy_from(buffers, skip, payload + slot.begin, slot.end - slot.begin);
    const uint64_t units = unit_count(start, sectors);
    for (uint64_t i = 0; i < units; ++i) {
        const UnitRange range = unit_range(start, sectors, i);
        sums[i] = unit_checksum(payload + slot.begin + range.begin * kSectorSize,
                                (range.end - range.begin) * kSectorSize);
    }
}

void Log::filled(Batch& batch) {
    if (--batch.filling == 0 && may_submit(batch)) {
        submit_waiters_.wake_all(core_.host);  // its leader may be waiting for this
    }
}

// Whether what it is based on is still what the block holds, and may be kept.
bool Log::may_stay_delta(const Part& part, DeltaChain* chain) const {
    Extent now;
    return !segments_.deltas().full() && core_.geometry.holds_deltas(SegmentId(segments_.size() + kSegmentsAhead)) &&
           disk_.map.find_whole(part.start, part.start + part.sectors, &now) && now == part.base &&
           segments_.chain_of(core_.geometry, now, chain);
}

Result<Sequence> Log::append_parts(std::span<Part> parts, std::span<const iovec> buffers,
                                   std::vector<Extent>* placed) {
    Lock lock(core_.mutex);
    pass_gate(lock);
    std::vector<DeltaChain> chains(parts.size());
    Batch::Size size{.entries = parts.size()};
    for (size_t i = 0; i < parts.size(); ++i) {
        if (parts[i].delta != nullptr && !may_stay_delta(parts[i], &chains[i])) {
            parts[i].delta = nullptr;
        }
        if (parts[i].delta != nullptr) {
            chains[i].units = static_cast<uint16_t>(chains[i].units + parts[i].delta->length / kDeltaUnit);
        }
        size.sectors += parts[i].delta != nullptr ? 0 : align_up(parts[i].sectors, kSectorsPerBlock);
        size.delta_bytes += parts[i].delta != nullptr ? parts[i].delta->length : 0;
    }
    assert(size.sectors <= max_request_sectors());
    Joined joined = join(size);
    const std::shared_ptr<Batch> batch = joined.batch;
    const size_t first = batch->entries().size();
    std::vector<Batch::Slot> slots(parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
        if (const Delta* delta = parts[i].delta) {
            segments_.pin(chains[i]);
            batch->add_delta(chains[i], {delta->bytes, delta->length}, unit_checksum(delta->bytes, delta->length));
        } else {
            slots[i] = batch->add_data(parts[i].start, parts[i].sectors);
        }
    }
    ++batch->filling;
    uint8_t* payload = batch->payload();
    lock.unlock();

    std::vector<std::vector<uint32_t>> sums(parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
        const Part& part = parts[i];
        if (part.delta == nullptr) {
            sums[i].resize(unit_count(part.start, part.sectors));
            fill(payload, slots[i], part.start, part.sectors, buffers, part.skip, sums[i].data());
        }
    }

    lock.lock();
    for (size_t i = 0; i < parts.size(); ++i) {
        if (parts[i].delta == nullptr) {
            batch->set_sums(slots[i], sums[i].data(), sums[i].size());
        }
    }
    filled(*batch);
    Result<Sequence> done = complete(std::move(joined), lock);
    for (size_t i = 0; done.ok() && i < parts.size(); ++i) {
        const format::Entry& entry = batch->entries()[first + i];
        placed->push_back(to_extent(core_.geometry, batch->sealed().segment, entry, batch->sums()[entry.first_sum]));
    }
    return done;
}

Result<Sequence> Log::append_moves(std::span<const Move> moves) {
    uint64_t sectors = 0;
    for (const Move& move : moves) {
        sectors += align_up(move.sectors, kSectorsPerBlock);  // whatever their alignment
    }
    assert(sectors > 0 && sectors <= max_request_sectors());
    Lock lock(core_.mutex);
    pass_gate(lock);
    Joined joined = join({.sectors = sectors, .entries = moves.size()});
    Batch& batch = *joined.batch;
    std::vector<Batch::Slot> slots;
    for (const Move& move : moves) {
        slots.push_back(batch.add_move(move.start, move.sectors, move.from));
    }
    ++batch.filling;
    uint8_t* payload = batch.payload();
    lock.unlock();

    std::vector<std::vector<uint32_t>> sums;
    for (size_t i = 0; i < moves.size(); ++i) {
        const Move& move = moves[i];
        const iovec data{const_cast<uint8_t*>(move.data), move.sectors * kSectorSize};
        sums.emplace_back(unit_count(move.start, move.sectors));
        fill(payload, slots[i], move.start, move.sectors, {&data, 1}, 0, sums[i].data());
    }

    lock.lock();
    for (size_t i = 0; i < moves.size(); ++i) {
        batch.set_sums(slots[i], sums[i].data(), sums[i].size());
    }
    filled(batch);
    return complete(std::move(joined), lock);
}

Result<Sequence> Log::append_packed(std::span<const PackedMove> moves) {
    assert(!moves.empty() && moves.size() <= max_packed());
    Lock lock(core_.mutex);
    pass_gate(lock);
    Joined joined = join({.entries = moves.size()});
    for (const PackedMove& move : moves) {
        joined.batch->add_packed(move.start, move.sectors, move.from, move.to);
    }
    return complete(std::move(joined), lock);
}

Result<Sequence> Log::append_mapping(ExtentKind kind, Sector start, uint64_t sectors) {
    Lock lock(core_.mutex);
    pass_gate(lock);
    Joined joined = join({.entries = 1});
    joined.batch->add_mapping(kind, start, sectors);
    return complete(std::move(joined), lock);
}

Result<Sequence> Log::append_records(std::span<const uint8_t> records, ExtentKind kind, Sector start,
                                     uint64_t count) {
    if (records.size() > max_record_bytes()) {
        return Error{EFBIG, "the records do not fit in a batch"};
    }
    Lock lock(core_.mutex);
    Joined joined = join({.entries = 1, .record_bytes = records.size()});
    if (count > 0) {
        joined.batch->add_mapping(kind, start, count);
    }
    joined.batch->add_records(records);
    return complete(std::move(joined), lock);
}

}  // namespace predsnap
