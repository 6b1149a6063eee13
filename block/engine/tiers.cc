// SPDX-License-Identifier: GPL-2.0-or-later
//
// Tiers: sealed streams move to the capacity image, and are merged there. One task does it, beside the background's other
// work: while the capacity image is slow, or does not answer, nothing but this task waits for it. It holds no lock
// and no pin across a request to it, so that nothing else has to wait for it either.
//
// What was copied counts once a batch of the log says so: it drops the stream and adds it again, the same in all but
// where it lies. Places in it stay what they are, so neither maps nor views notice.
#include <algorithm>

#include "engine_impl.h"
#include "stream.h"
#include "text.h"

namespace predsnap {

namespace {

// Streams moved at once share a flush and a record: so many, and about so many segments of them.
constexpr size_t kMostMovedAtOnce = 32;
constexpr size_t kSegmentsMovedAtOnce = 4;
// Frames read at once, to be copied.
constexpr size_t kFramesAtOnce = 16;
constexpr unsigned kMostBackoff = 64;

}  // namespace

// --- opening ---

// After recovery: which streams lie there is known.
Result<void> Engine::Impl::open_capacity(Device& device) {
    if (!capacity.present() && history.uses_capacity()) {
        return Error{EINVAL, text("the node given as 'capacity' is %s, and this disk's old history lies in another one: give "
                                  "that, or none to do without it",
                                  capacity.blank() ? "empty" : "not the capacity image it last had")};
    }
    if (!core.writable) {
        return {};
    }
    if (capacity.blank()) {
        TRY(capacity.make(device));
    } else if (capacity.unexpected()) {
        capacity.accept(device);
    }
    const bool known = std::equal(capacity.id().begin(), capacity.id().end(), superblock.capacity) &&
                       (superblock.incompatible & format::kIncompatibleCapacity) != 0;
    return known ? Result<void>() : update_superblock([this](format::Superblock& block) {
        std::copy(capacity.id().begin(), capacity.id().end(), block.capacity);
        block.incompatible |= format::kIncompatibleCapacity;
    });
}

// A rollback to before the floor that only the log tells of is done again from streams, which may lie there.
bool Engine::Impl::needs_capacity_to_open() const {
    return history.uses_capacity() &&
           std::any_of(history.rollbacks.begin(), history.rollbacks.end(), [&](const History::Rollback& r) {
               return r.deep && r.sequence.value > superblock.checkpoint_sequence;
           });
}

// --- the task ---

// Requires Core::mutex.
void Engine::Impl::start_tiers_work() {
    tiers_again = true;
    const bool nothing = history.streams.empty() && leaving_capacity.empty();
    if (tiers_working || paused || !core.writable || !capacity.present() || nothing) {
        return;
    }
    tiers_working = true;
    core.host.spawn([this] {
        Lock lock(core.mutex);
        do {
            tiers_again = false;
            lock.unlock();
            while (tiers_step()) {
            }
            lock.lock();
        } while (tiers_again && !paused);
        tiers_working = false;
        idle.wake_all(core.host);
    });
}

bool Engine::Impl::tiers_step() {
    if (paused) {
        return false;
    }
    return release_capacity_step() || move_step() || coalesce_capacity_step();
}

// As sealing_failed: tried again after more and more segments of log.
void Engine::Impl::tiers_work_failed(const Error& error) {
    Lock lock(core.mutex);
    if (error.code != ECANCELED) {
        tiers_failed = true;
        tiers_backoff = std::min(kMostBackoff, 2 * tiers_backoff + 1);
        tiers_wait = tiers_backoff;
    }
}

// --- space ---

// Gives a segment of the capacity image that nothing needs any more back.
bool Engine::Impl::release_capacity_step() {
    SegmentId id = kNoSegment;
    {
        Lock lock(core.mutex);
        if (leaving_capacity.empty() || !checkpoints_allow_release()) {
            return false;
        }
        core.readers.advance();
        const auto next = std::find_if(leaving_capacity.begin(), leaving_capacity.end(),
                                       [this](const Leaving& leaving) { return may_be_released(leaving); });
        if (next == leaving_capacity.end()) {
            return false;
        }
        id = next->id;
        leaving_capacity.erase(next);
        streams.forget(format::Tier::capacity, id);
    }
    capacity.device().discard(core.geometry.offset(id), core.geometry.segment_size).ok();  // it is free all the same
    Lock lock(core.mutex);
    capacity.release(id);
    tiers_failed = false;
    return true;
}

// --- moving ---

// The oldest of those in the image. What the disk has data in stays where it is fast to read; what refers to packs is written
// anew first (references.cc).
std::vector<StreamInfo> Engine::Impl::streams_to_move() const {
    std::vector<StreamInfo> group;
    size_t segments_in_group = 0;
    for (auto stream = history.streams.rbegin(); stream != history.streams.rend(); ++stream) {
        const SegmentTable::StreamUse* const use = segments.stream_use(stream->base);
        if (stream->is_pack() || stream->on_capacity() || use == nullptr || use->live > 0 || !stream->references.empty() ||
            unmovable.contains(stream->id)) {
            continue;
        }
        if (group.size() == kMostMovedAtOnce || segments_in_group >= kSegmentsMovedAtOnce) {
            break;
        }
        segments_in_group += stream->segments.size();
        group.push_back(*stream);
    }
    return group;
}

// Whether the stream is where it was.
bool Engine::Impl::still_there(const StreamInfo& stream) const {
    const StreamInfo* const now = history.stream(stream.id);
    return now != nullptr && now->tier == stream.tier;
}

bool Engine::Impl::move_step() {
    std::vector<StreamInfo> group;
    {
        Lock lock(core.mutex);
        if (tiers_failed || !segments.counted()) {
            return false;
        }
        group = streams_to_move();
    }
    if (group.empty()) {
        return false;
    }
    if (const std::optional<bool> made = checkpoints_before_drop()) {
        return *made;
    }
    const Result<void> moved = move_streams(group, format::Tier::capacity);
    if (!moved.ok()) {
        tiers_work_failed(moved.error());
    }
    return moved.ok();
}

// To the capacity image, or (compact.cc) from one place of the image to another; packs, or none.
Result<void> Engine::Impl::move_streams(const std::vector<StreamInfo>& group, format::Tier to) {
    SealedStreams moved(*this, to);
    moved.packs = group.front().is_pack();
    begin_streams(&moved);
    for (const StreamInfo& stream : group) {
        TRY(copy_stream(stream, &moved));
    }
    TRY(end_streams(&moved));
    return moved.streams.empty() ? Result<void>() : record_moves(moved);
}

// Appends the copy to `moved`, unless the stream is gone, or cannot be read. Its frames are copied as they are.
Result<void> Engine::Impl::copy_stream(const StreamInfo& from, SealedStreams* moved) {
    std::shared_ptr<const StreamIndex> index;
    std::vector<std::vector<uint8_t>> stored(kFramesAtOnce);
    // While it is there, and pinned, its segments are not given away.
    const auto read = [&](const std::function<Result<void>()>& what) {
        Lock lock(core.mutex);
        if (!still_there(from)) {
            return false;
        }
        const ReadPins::Pin pin = core.readers.pin();
        lock.unlock();
        const bool done = what().ok();
        lock.lock();
        if (!done) {
            unmovable.insert(from.id);
        }
        return done;
    };
    const bool loaded = read([&]() -> Result<void> {
        TRY_ASSIGN(index, streams.load(from));
        return {};
    });
    if (!loaded) {
        return {};
    }
    std::shared_ptr<const Dictionary> dictionary;
    const bool has_dictionary = read([&]() -> Result<void> {
        TRY_ASSIGN(dictionary, streams.dictionary(from, index->summary));
        return {};
    });
    if (!has_dictionary) {
        return {};
    }
    StreamWriter& writer = *moved->writer;
    TRY(writer.begin_stream(from.base, std::move(dictionary)));
    writer.put_extents_of(*index, from.sectors);
    for (size_t at = 0; at < index->frames.size(); at += kFramesAtOnce) {
        const size_t count = std::min(kFramesAtOnce, index->frames.size() - at);
        const bool done = read([&]() -> Result<void> {
            TaskGroup group(core.host, kFramesAtOnce);
            for (size_t i = 0; i < count; ++i) {
                group.run([&, i]() -> Result<void> {
                    TRY_ASSIGN(stored[i], streams.read_stored(from, *index, at + i));
                    return {};
                });
            }
            return group.wait();
        });
        if (!done) {
            writer.abandon_stream();
            return {};
        }
        for (size_t i = 0; i < count; ++i) {
            TRY(writer.put_stored_frame(stored[i], index->frames[at + i].form));
        }
        if (paused || (pressing && moved->tier == format::Tier::fast)) {  // guest writes wait for the cleaner
            return Error{ECANCELED, "background work is paused"};
        }
    }
    StreamInfo to = from;
    to.tier = moved->tier;
    TRY(writer.end_stream(&to, index->summary.upper_time, index->summary.changes.after()));
    moved->streams.push_back(std::move(to));
    return {};
}

// The copies are durable: from now on they count.
Result<void> Engine::Impl::record_moves(SealedStreams& moved) {
    // Not while a rollback or a view finds its way through them.
    TaskMutex::Guard guard(core.host, control);
    std::vector<uint8_t> records;
    std::vector<StreamInfo> before;
    std::vector<StreamInfo> after;
    {
        Lock lock(core.mutex);
        if (!checkpoints_allow_release()) {
            return {};  // a rollback came first: look again
        }
        for (const StreamInfo& stream : moved.streams) {
            const StreamInfo* const now = history.stream(stream.id);
            if (now == nullptr || now->on_capacity()) {
                continue;  // it was dropped, merged, or moved, meanwhile
            }
            put_stream_drop(records, stream.id);
            put_stream(records, stream);
            before.push_back(*now);
            after.push_back(stream);
        }
    }
    const Result<Sequence> appended =
        records.empty() ? Result<Sequence>(Sequence(0)) : log.append_records(records, ExtentKind::hole, Sector(0), 0);
    Lock lock(core.mutex);
    moved.writer->keep();
    moved.adopted = true;
    const std::vector<SegmentId>& written = moved.writer->segments();
    hold_segments(moved.tier, written);
    tail_of(moved) = appended.ok() ? moved.writer->tail() : StreamTail{};
    for (size_t i = 0; i < after.size(); ++i) {
        hold_segments(moved.tier, after[i].segments);
        if (appended.ok()) {
            let_go_segments(format::Tier::fast, before[i].segments, disk.sequence, 0);
            const bool to_capacity = moved.tier == format::Tier::capacity;
            core.stats.moved_streams += to_capacity;
            core.stats.moved_stream_bytes += to_capacity ? after[i].sectors * kSectorSize : 0;
            core.stats.streams_compacted += !to_capacity;
        } else {
            // The record may be on the disk all the same, until a later batch is durable.
            let_go_segments(moved.tier, after[i].segments, disk.sequence + 1, 0);
        }
    }
    let_go_segments(moved.tier, written, disk.sequence + 1, 0);
    let_go_segments(moved.tier, moved.held, disk.sequence + 1, 0);
    if (moved.tier == format::Tier::fast) {
        return appended.discard();
    }
    tiers_backoff = 0;
    coalesce_capacity_due = true;
    on_progress();
    return appended.discard();
}

// --- merging ---

bool Engine::Impl::coalesce_capacity_step() {
    StreamRun run;
    {
        Lock lock(core.mutex);
        if (tiers_failed || !coalesce_capacity_due || !segments.counted()) {
            return false;
        }
        run = smallest_run(format::Tier::capacity);
        if (run.empty()) {
            coalesce_capacity_due = false;
            return false;
        }
    }
    if (const std::optional<bool> made = checkpoints_before_drop()) {
        return *made;
    }
    return coalesce_run(run);
}

}  // namespace predsnap
