// SPDX-License-Identifier: GPL-2.0-or-later
//
// Steps 3 and 4 of recovery: the log itself.
#include <algorithm>
#include <cstring>

#include "apply.h"
#include "recovery.h"
#include "text.h"

namespace predsnap {

namespace {

// The checksum before the batch with that number, in a run of scanned batches.
std::optional<uint64_t> hash_before(const LogPosition& start, const std::vector<ScannedBatch>& batches,
                                    Sequence sequence) {
    if (sequence == start.next) {
        return start.hash;
    }
    const uint64_t i = sequence - start.next;
    if (sequence < start.next || i > batches.size()) {
        return {};
    }
    return batches[i - 1].header.checksum;
}

}  // namespace

// One segment of the log from a position on, and the header of the next if the chain goes on there.
Result<Recovery::Link> Recovery::read_link(const LogPosition& at) {
    Link link;
    if (at.offset + kBlockSize <= core_.geometry.segment_size) {
        TRY_ASSIGN(newest_scanned_, ScannedSegment::read(core_, at.segment));
        TRY_ASSIGN(link.batches, newest_scanned_->chain_from(at.offset, at.next, at.hash));
    }
    const Result<ScannedSegment> next = ScannedSegment::read(core_, at.announced, kBlockSize);
    if (!next.ok()) {
        return Error{next.error().code, text("header of log segment %u cannot be read", at.announced.value)};
    }
    const std::optional<format::SegmentHeader> header = next.value().header();
    if (header && header->ordinal == at.ordinal + 1) {
        const auto hash = hash_before(at, link.batches, Sequence(header->first_sequence));
        if (hash && *hash == header->previous_hash) {
            link.next = header;
            const size_t kept = header->first_sequence - at.next.value;
            if (kept < link.batches.size()) {  // the rest was taken back
                link.taken_back = link.batches[kept].offset;
                link.batches.resize(kept);
            }
        }
    }
    return link;
}

// All segments that the chain of headers leads to from the position on.
Result<std::deque<Recovery::Link>> Recovery::read_chain() {
    std::deque<Link> chain;
    for (LogPosition at = position_;;) {
        TRY_ASSIGN(Link read, read_link(at));
        chain.push_back(std::move(read));
        const Link& link = chain.back();
        if (!link.next) {
            return chain;
        }
        if (!link.batches.empty()) {
            at.hash = link.batches.back().header.checksum;
            at.next += link.batches.size();
        }
        at.segment = SegmentId(link.next->self);
        at.announced = SegmentId(link.next->next);
        at.offset = kBlockSize;
        at.ordinal = link.next->ordinal;
    }
}

// Up to where the chain says that history is durable. A batch within that whose payload does not match was
// damaged afterwards, not torn.
Sequence Recovery::durable_by(const std::deque<Link>& chain) const {
    Sequence durable = durable_;
    for (const Link& link : chain) {
        for (const ScannedBatch& batch : link.batches) {
            durable = std::max(durable, Sequence(batch.header.durable_sequence));
        }
    }
    return durable;
}

Error Recovery::unreadable(const LogPosition& at) const {
    return Error{EIO, text("log segment %u cannot be read after offset %u", at.segment.value, at.offset)};
}

Result<void> Recovery::scan_log() {
    TRY_ASSIGN(std::deque<Link> chain, read_chain());
    const Sequence durable = durable_by(chain);
    for (; !chain.empty(); chain.pop_front()) {
        const Link& link = chain.front();
        for (const ScannedBatch& batch : link.batches) {
            if (!batch.whole && batch.header.sequence > durable.value) {
                // Torn, never finished; unless it only cannot be read now.
                return batch.unreadable && !accept_loss_ ? unreadable(position_) : Result<void>();
            }
            TRY(apply_scanned(batch));
        }
        if (link.taken_back) {
            taken_back_.emplace_back(position_.segment, *link.taken_back);
        }
        if (link.next) {
            enter_segment(*link.next);
        }
    }
    return {};
}

void Recovery::enter_segment(const format::SegmentHeader& header) {
    position_ = LogPosition{SegmentId(header.self), SegmentId(header.next), kBlockSize, header.ordinal,
                            position_.next,         position_.hash};
    open_log_segment(position_, segments_, log_.open_indexes());
}

Result<void> Recovery::apply_scanned(const ScannedBatch& batch) {
    const format::BatchHeader& header = batch.header;
    const PlacedBatch placed{Sequence(header.sequence), Time(header.time), header.checksum,
                             batch.offset + header.total_bytes, batch.entries, batch.sums, batch.records};
    apply_batch(core_.geometry, placed, segments_, log_.open_indexes().back(), disk_);
    position_.offset = placed.end_offset;
    position_.next = placed.sequence + 1;
    position_.hash = placed.hash;
    durable_ = std::max(durable_, Sequence(header.durable_sequence));
    outcome_.entries_replayed += batch.entries.size();
    ++outcome_.batches_scanned;
    TRY(apply_records(placed.sequence, placed.time, batch.records, &log_.open_indexes().back()));
    lay_replayed();  // a rollback
    return {};
}

// Step 4: whatever proves that there was more.
Result<void> Recovery::check_nothing_lost(const format::Superblock& superblock) {
    const Sequence newest = disk_.sequence;
    const auto lost = [&](const std::string& evidence) {
        return Error{EIO, text("log is damaged after sequence %llu, at segment %u offset %u: %s; "
                               "'qemu-img check -r all' opens it without what follows",
                               static_cast<ull>(newest.value), position_.segment.value,
                               position_.offset, evidence.c_str())};
    };
    if (durable_ > newest || superblock.durable_sequence > newest.value) {
        return lost(text("sequence %llu was durable",
                         static_cast<ull>(std::max(durable_.value, superblock.durable_sequence))));
    }
    const auto look = [&](SegmentId id, uint32_t from) -> Result<void> {
        if (!newest_scanned_ || newest_scanned_->id() != id) {
            TRY_ASSIGN(newest_scanned_, ScannedSegment::read(core_, id));
        }
        if (const auto offset = newest_scanned_->later_history(from, newest)) {
            return lost(text("segment %u offset %u holds a later batch", id.value, *offset));
        }
        return {};
    };
    if (position_.offset < core_.geometry.segment_size) {
        TRY(look(position_.segment, position_.offset));
    }
    return look(position_.announced, kBlockSize);
}

// Removes what lies beyond the end of the log, so that it is not found again.
Result<void> Recovery::wipe_rest() {
    const auto wipe = [&](SegmentId id, uint32_t from) -> Result<void> {
        TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
        const uint64_t begin = core_.geometry.offset(id) + from;
        const uint64_t end = core_.geometry.offset(id) + core_.geometry.segment_size;
        if (begin >= image_bytes || begin >= end) {
            return {};
        }
        AlignedBuffer zeros(std::min(end, align_down(image_bytes, kSectorSize)) - begin);
        std::memset(zeros.data(), 0, zeros.size());
        return core_.file.pwrite(begin, zeros.data(), zeros.size());
    };
    TRY(wipe(position_.segment, position_.offset));
    TRY(wipe(position_.announced, 0));
    return core_.file.flush();
}

// What recovery did not take must not become whole later, when what is missing of it happens to be written
// again: a batch at one of the two places where the log can go on, a blob where the index stream does. Nor
// must a batch that was taken back return, when what shows that it was is lost in the next crash. All that is
// behind them hangs on them by its checksums.
Result<void> Recovery::wipe_torn() {
    const format::StreamPosition& index = index_tail_.at;
    TRY(wipe_torn_at(position_.segment, position_.offset, format::kBatchMagic));
    TRY(wipe_torn_at(position_.announced, kBlockSize, format::kBatchMagic));
    TRY(wipe_torn_at(SegmentId(index.segment), index.offset, format::kChunkMagic));
    for (const auto& [segment, offset] : taken_back_) {
        TRY(wipe_torn_at(segment, offset, format::kBatchMagic));
    }
    return {};
}

Result<void> Recovery::wipe_torn_at(SegmentId segment, uint32_t offset, const uint8_t (&magic)[4]) {
    if (offset + kBlockSize > core_.geometry.segment_size) {
        return {};  // full: the log goes on in the next one
    }
    TRY_ASSIGN(const uint64_t image_bytes, core_.file.length());
    const uint64_t at = core_.geometry.offset(segment) + offset;
    const uint64_t length = std::min<uint64_t>(kBlockSize, align_down(std::max(image_bytes, at) - at, kSectorSize));
    if (length == 0) {
        return {};
    }
    AlignedBuffer block(kBlockSize);
    TRY(core_.file.pread(at, block.data(), length));
    if (std::memcmp(block.data(), magic, sizeof(magic)) != 0) {
        return {};
    }
    std::memset(block.data(), 0, block.size());
    return core_.file.pwrite(at, block.data(), length);
}

}  // namespace predsnap
