// SPDX-License-Identifier: GPL-2.0-or-later
#include "log.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "apply.h"
#include "checksum.h"
#include "text.h"

namespace predsnap {

namespace {

// Appends in flight. More make batches smaller, fewer leave the device idle (docs/performance.md).
constexpr size_t kMaxInFlight = 2;
// After so many batches of a single request it is believed that requests come one by one.
constexpr unsigned kLoneBatches = 8;
// Batches whose memory is kept: those in flight, the open one, and one whose requests still look at it.
constexpr size_t kBatchesKept = kMaxInFlight + 2;
// Points recorded with one batch; Batch keeps room for their records.
constexpr size_t kMaxPointsPerBatch = 20;

}  // namespace

Log::Log(Core& core, SegmentTable& segments, DiskState& disk, History& history)
    : core_(core), segments_(segments), disk_(disk), history_(history) {}

void Log::start(Start start) {
    limits_ = Batch::Limits(core_.geometry.segment_size);
    position_ = start.position;
    applied_ = start.position;
    open_indexes_ = std::move(start.open_indexes);
    durable_ = start.durable;
    newest_point_ = history_.last_point;
    newest_point_time_ = history_.last_point_time;
}

// A batch whose memory nobody uses any more, or a new one.
std::shared_ptr<Batch> Log::empty_batch() {
    for (const std::shared_ptr<Batch>& batch : batches_) {
        if (batch.use_count() == 1) {
            batch->reuse();
            return batch;
        }
    }
    auto batch = std::make_shared<Batch>(limits_);
    if (batches_.size() < kBatchesKept) {
        batches_.push_back(batch);
    }
    return batch;
}

Log::Joined Log::join(const Batch::Size& size) {
    if (open_ && open_->fits(size)) {
        ++open_->joined;
        return {open_, false};
    }
    if (open_) {
        open_->closed = true;
    }
    open_ = empty_batch();
    pending_.push_back(open_);
    return {open_, true};
}

Result<Sequence> Log::complete(Joined joined, Lock& lock) {
    const std::shared_ptr<Batch> batch = std::move(joined.batch);
    if (joined.leader) {
        lead(batch, lock);
    }
    while (!batch->finished) {
        batch->waiters.wait(core_.host, lock);
    }
    if (batch->error != 0) {
        return Error{batch->error, {}};
    }
    return batch->sealed().sequence;
}

bool Log::may_submit(const Batch& batch) const {
    return !failed_ && !wiping_ && batch.filling == 0 && pending_.front().get() == &batch &&
           in_flight_.size() < kMaxInFlight;
}

// Sees the batch through to the device. On return it is written, not always settled.
void Log::lead(const std::shared_ptr<Batch>& batch, Lock& lock) {
    ++batch->joined;
    if (may_submit(*batch) && lone_batches_ < kLoneBatches) {
        // Nothing to wait for: let requests that are ready now join first. Where they come one by one, none is.
        lock.unlock();
        core_.host.yield();
        lock.lock();
    }
    while (!may_submit(*batch)) {
        submit_waiters_.wait(core_.host, lock);
    }
    batch->closed = true;
    lone_batches_ = batch->joined == 1 && in_flight_.empty() ? lone_batches_ + 1 : 0;
    if (open_ == batch) {
        open_.reset();
    }
    pending_.pop_front();
    batch->error = seal(*batch);
    in_flight_.push_back(batch);
    submit_waiters_.wake_all(core_.host);
    if (batch->error == 0) {
        batch->sent = true;
        const std::vector<iovec> buffers = batch->buffers();
        const uint64_t offset = core_.geometry.offset(batch->sealed().segment) +
                                (batch->opens_segment ? 0 : batch->sealed().offset);
        lock.unlock();
        if (batch->made_point) {
            core_.host.report(Event::point, 0, 0, {});
        }
        const Result<void> result = core_.file.pwritev(offset, buffers);
        if (!result.ok()) {
            core_.host.report(Event::log_error, 0, 0, result.error().message);
        }
        lock.lock();
        batch->error = result.ok() ? 0 : result.error().code;
    }
    batch->written = true;
    failed_ = failed_ || batch->error != 0;
    settle();
}

// Gives the batch its place. Returns an errno value if there is none.
int Log::seal(Batch& batch) {
    batch.before = position_;
    const Time now = core_.host.now();
    add_points(batch, now);
    if (position_.offset + batch.total_bytes() > core_.geometry.segment_size) {
        if (const int error = open_segment(batch); error != 0) {
            return error;
        }
    }
    Batch::Seal seal{};
    seal.sequence = position_.next;
    seal.time = now;
    seal.previous_hash = position_.hash;
    seal.durable = durable_;
    seal.session = core_.session;
    seal.seed = core_.seed;
    seal.segment = position_.segment;
    seal.announced = position_.announced;
    seal.offset = position_.offset;
    seal.segment_offset = core_.geometry.offset(position_.segment);
    batch.seal(seal);
    position_.offset += batch.total_bytes();
    position_.next += 1;
    position_.hash = batch.hash();
    return 0;
}

// Moves the position to the announced segment, whose header goes out with the batch.
int Log::open_segment(Batch& batch) {
    const Result<SegmentId> next = segments_.take(core_.geometry, taken_back_);
    if (!next.ok()) {
        return next.error().code;
    }
    const SegmentId id = position_.announced;
    position_ = LogPosition{id, next.value(), kBlockSize, position_.ordinal + 1, position_.next,
                            position_.hash};
    open_log_segment(position_, segments_, open_indexes_);

    format::SegmentHeader header{};
    header.kind = static_cast<uint8_t>(format::SegmentKind::log);
    header.self = id.value;
    header.next = position_.announced.value;
    header.ordinal = position_.ordinal;
    header.first_sequence = position_.next.value;
    header.previous_hash = position_.hash;
    batch.segment_header = segment_header_block(core_, header);
    batch.opens_segment = true;
    return 0;
}

void Log::mark_point(Sequence sequence, Time time, format::PointKind kind) {
    if (sequence <= newest_point_ || sequence.value == 0) {
        return;
    }
    newest_point_ = sequence;
    newest_point_time_ = time;
    ++core_.stats.points;
    pending_points_.push_back({sequence.value, time.value, static_cast<uint32_t>(kind)});
}

void Log::add_points(Batch& batch, Time now) {
    // A clock that went back must not stop points for as long.
    const int64_t since = elapsed_us(newest_point_time_, now);
    if (point_interval_us_ > 0 && (since >= point_interval_us_ || since < 0)) {
        const Sequence before = newest_point_;
        mark_point(disk_.sequence, disk_.time, format::PointKind::interval);
        batch.made_point = newest_point_ != before;
    }
    const size_t count = std::min(pending_points_.size(), kMaxPointsPerBatch);
    batch.points.assign(pending_points_.begin(), pending_points_.begin() + count);
    pending_points_.erase(pending_points_.begin(), pending_points_.begin() + count);
    std::vector<uint8_t> records;
    for (const format::PointRecord& point : batch.points) {
        put_record(records, format::RecordType::point, &point, sizeof(point));
    }
    batch.add_records(records);
}

// Applies what can be applied, in order.
void Log::settle() {
    while (!in_flight_.empty() && in_flight_.front()->written) {
        if (in_flight_.front()->error != 0) {
            const bool all_written = std::all_of(in_flight_.begin(), in_flight_.end(),
                                                 [](const auto& batch) { return batch->written; });
            if (!all_written) {
                return;
            }
            take_back();
            break;
        }
#if PREDSNAP_CANARY == 2  // a known bug: of two written batches the later one is applied first
        if (in_flight_.size() > 1 && in_flight_[1]->written && in_flight_[1]->error == 0) {
            std::swap(in_flight_[0], in_flight_[1]);
        }
#endif
        const std::shared_ptr<Batch> batch = in_flight_.front();
        in_flight_.pop_front();
        apply(*batch);
        finish(*batch);
    }
    submit_waiters_.wake_all(core_.host);
    if (in_flight_.empty() && pending_.empty()) {
        gate_waiters_.wake_all(core_.host);
    }
}

void Log::apply(Batch& batch) {
    const Batch::Seal& seal = batch.sealed();
    const auto index = std::find_if(open_indexes_.rbegin(), open_indexes_.rend(),
                                    [&](const SegmentIndex& i) { return i.segment == seal.segment; });
    assert(index != open_indexes_.rend());
    const PlacedBatch placed{seal.sequence,   seal.time,    batch.hash(),   seal.offset + batch.total_bytes(),
                             batch.entries(), batch.sums(), batch.records()};
    size_t delta = 0;
    for (const format::Entry& entry : batch.entries()) {
        if (entry.has(format::kEntryDelta)) {
            segments_.add_delta(get_from(entry), batch.chains[delta++], seal.time);  // which is pinned
        }
    }
    batch.chains.clear();
    apply_batch(core_.geometry, placed, segments_, *index, disk_);
    tell_moves(std::span(index->entries).last(batch.entries().size()), seal.segment);
    disk_.sequence = seal.sequence;
    disk_.time = seal.time;
    if (!batch.records().empty()) {
        // Records written by this engine always parse.
        const Result<void> recorded = history_.apply(seal.sequence, seal.time, batch.records());
        assert(recorded.ok());
        static_cast<void>(recorded);
        disk_.size = history_.size_at(seal.sequence);
        segments_.retire(history_.floor);
    }
    applied_ = LogPosition{seal.segment, seal.announced, seal.offset + batch.total_bytes(),
                           segments_[seal.segment].ordinal, seal.sequence + 1, batch.hash()};
    ++core_.stats.batches;
    core_.stats.batch_bytes += batch.total_bytes() + (batch.opens_segment ? kBlockSize : 0);
    if (batch.opens_segment && on_progress) {
        on_progress();
    }
}

// Of entries in an index, which say whether they count.
void Log::tell_moves(std::span<const format::Entry> entries, SegmentId segment) {
    for (const format::Entry& entry : entries) {
        Extent now;
        const Sector start(entry.start);
        // A later entry of the batch may have taken its place.
        const bool moved = (entry.flags & ~format::kEntryPacked) == format::kEntryMoved;
        if (moved && on_moved && disk_.map.find_whole(start, start + entry.count, &now) &&
            now.place == to_extent(core_.geometry, segment, entry, 0).place) {
            on_moved(now, get_from(entry));
        }
    }
}

void Log::finish(Batch& batch) {
    batch.finished = true;
    batch.waiters.wake_all(core_.host);
}

// Fails all batches in flight and puts the position back before the first of them.
void Log::take_back() {
    const int error = in_flight_.front()->error;
    LogPosition back = in_flight_.front()->before;
    bool opened = false;
    if (in_flight_.front()->sent) {
        leave_remains(*in_flight_.front());  // those behind it hang on it
    }
    while (!in_flight_.empty()) {
        const std::shared_ptr<Batch> batch = in_flight_.back();
        in_flight_.pop_back();
        if (batch->opens_segment) {
            const SegmentIndex& index = open_indexes_.back();
            taken_back_.push_front(index.next);
            Segment& segment = segments_[index.segment];
            segment = Segment{};
            segment.announced = true;
            segments_.log().pop_back();
            open_indexes_.pop_back();
            opened = true;
        }
        unpin(*batch);
        pending_points_.insert(pending_points_.begin(), batch->points.begin(), batch->points.end());
        batch->error = error;
        finish(*batch);
    }
    // Go on in the next segment if that place may be bad; and if the next segment's header was sent: it
    // may be on disk, and says that the segment before it ends here.
    if (error != ENOSPC || opened) {
        back.offset = core_.geometry.segment_size;
    }
    position_ = back;
    failed_ = false;
    ++core_.stats.append_errors;
}

// It has failed. But it may be on the disk all the same, and return after a crash, unless another batch in its place
// is durable: so what its deltas need counts as needed until there is a later state.
void Log::unpin(Batch& batch) {
    for (const DeltaChain& chain : batch.chains) {
        segments_.unpin(chain, disk_.sequence + 1);
    }
    batch.chains.clear();
}

Result<void> Log::flush(bool point) {
    Lock lock(core_.mutex);
    const Sequence wanted = disk_.sequence;
    const Time time = disk_.time;
    const uint64_t remains = next_remains_;
    while (durable_ < wanted || has_remains(remains)) {
        if (flushing_) {
            flush_waiters_.wait(core_.host, lock);
            continue;
        }
        flushing_ = true;
        const Result<void> wiped = has_remains(remains) ? wipe_remains(lock) : Result<void>();
        if (!wiped.ok()) {
            flushing_ = false;
            flush_waiters_.wake_all(core_.host);
            return wiped;
        }
        const Sequence covered = disk_.sequence;
        lock.unlock();
#if PREDSNAP_CANARY == 1  // a known bug, which the simulation must find: the flush is skipped
        const Result<void> result;
#else
        const Result<void> result = core_.file.flush();
#endif
        lock.lock();
        flushing_ = false;
        flush_waiters_.wake_all(core_.host);
        TRY(result);
        durable_ = std::max(durable_, covered);
        std::erase_if(remains_, [](const Remains& left) { return left.wiped; });
        if (on_progress) {
            on_progress();
        }
    }
    if (point) {
        mark_point(wanted, time, format::PointKind::flush);
    }
    return {};
}

// The disk may hold the batch, though it failed.
void Log::leave_remains(const Batch& batch) {
    const Batch::Seal& seal = batch.sealed();
    const uint64_t offset = core_.geometry.offset(seal.segment) + seal.offset;
    std::erase_if(remains_, [&](const Remains& left) {
        return left.offset == offset || left.sequence <= disk_.sequence;
    });
    remains_.push_back({next_remains_++, seal.sequence, offset});
}

// Whether there are such that were left before, and no other batch is in their place.
bool Log::has_remains(uint64_t before) const {
    return std::any_of(remains_.begin(), remains_.end(), [&](const Remains& left) {
        return left.id < before && left.sequence > disk_.sequence;
    });
}

Result<void> Log::wipe_remains(Lock& lock) {
    wiping_ = true;
    while (!in_flight_.empty()) {
        submit_waiters_.wait(core_.host, lock);
    }
    std::erase_if(remains_, [&](const Remains& left) { return left.sequence <= disk_.sequence; });
    const std::vector<Remains> list = remains_;
    lock.unlock();
    AlignedBuffer zeros(kBlockSize);
    std::memset(zeros.data(), 0, zeros.size());
    Result<void> result;
    for (const Remains& left : list) {
        const Result<void> wiped = core_.file.pwrite(left.offset, zeros.data(), zeros.size());
        // Where there is no space for zeros there was none for a batch.
        if (!wiped.ok() && wiped.error().code != ENOSPC) {
            result = wiped;
            break;
        }
    }
    lock.lock();
    wiping_ = false;
    submit_waiters_.wake_all(core_.host);
    if (result.ok()) {
        for (Remains& left : remains_) {  // none came meanwhile
            left.wiped = true;
        }
    }
    return result;
}

void Log::close_gate() {
    Lock lock(core_.mutex);
    while (gate_closed_) {
        gate_waiters_.wait(core_.host, lock);
    }
    gate_closed_ = true;
    while (!in_flight_.empty() || !pending_.empty()) {
        gate_waiters_.wait(core_.host, lock);
    }
}

void Log::open_gate() {
    Lock lock(core_.mutex);
    gate_closed_ = false;
    gate_waiters_.wake_all(core_.host);
}

std::vector<format::PointRecord> Log::pending_points() const {
    std::vector<format::PointRecord> points;
    for (const std::shared_ptr<Batch>& batch : in_flight_) {
        points.insert(points.end(), batch->points.begin(), batch->points.end());
    }
    points.insert(points.end(), pending_points_.begin(), pending_points_.end());
    return points;
}

bool Log::index_ready() const {
    return open_indexes_.size() > 1 && open_indexes_[0].last + 1 == open_indexes_[1].first &&
           open_indexes_[1].first <= durable_;
}

}  // namespace predsnap
