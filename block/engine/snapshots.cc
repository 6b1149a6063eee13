// SPDX-License-Identifier: GPL-2.0-or-later
//
// Snapshots, rollback, and views: one record each, or none.
#include <algorithm>
#include <cstring>

#include "apply.h"
#include "engine_impl.h"
#include "text.h"

namespace predsnap {

namespace {

// Of log, whose indexes are read while guest writes wait for a rollback; and attempts to leave no more than that.
constexpr size_t kFewSegments = 1;
constexpr int kMostRounds = 4;

}  // namespace

Result<SnapshotInfo> Engine::snapshot_create(const SnapshotInfo& info) {
    TRY(impl_->writable());
    if (info.name.empty() || info.name.size() > 255) {
        return Error{EINVAL, "a snapshot's name has 1 to 255 bytes"};
    }
    Impl& e = *impl_;
    TaskMutex::Guard guard(e.core.host, e.control);
    SnapshotInfo snapshot = info;
    {
        Lock lock(e.core.mutex);
        if (e.history.find(info.name) != nullptr) {
            return Error{EEXIST, text("snapshot '%s' exists already", info.name.c_str())};
        }
        snapshot.id = e.history.next_snapshot_id;
        snapshot.disk_size = e.disk.size;
    }
    snapshot.sequence = Sequence(0);  // in the log: the state before the batch
    std::vector<uint8_t> record;
    put_snapshot(record, snapshot);
    // VM state belongs to the snapshot from now on, not to the disk.
    const uint64_t vm_sectors = snapshot.vm_state_size > 0 ? kSectorLimit - kVmStateBase : 0;
    TRY(e.log.append_records(record, ExtentKind::hole, kVmStateBase, vm_sectors));
    TRY(e.settle(text("snapshot '%s' was made", info.name.c_str())));
    Lock lock(e.core.mutex);
    ++e.core.stats.snapshots;
    const SnapshotInfo made = *e.history.find(info.name);
    lock.unlock();
    if (made.horizon_s > 0) {
        e.begin_forecast(made);
    }
    return made;
}

// The flush after a change that already shows: if it fails, the message must not say that nothing happened.
Result<void> Engine::Impl::settle(const std::string& done) {
    const Result<void> flushed = log.flush(true);
    if (flushed.ok()) {
        return {};
    }
    return Error{flushed.error().code,
                 text("%s, but the flush after it failed (%s): a power loss may still take it back",
                      done.c_str(), std::strerror(flushed.error().code))};
}

Result<void> Engine::snapshot_delete(const std::string& name) {
    TRY(impl_->writable());
    Impl& e = *impl_;
    TaskMutex::Guard guard(e.core.host, e.control);
    format::SnapshotDeleteRecord gone{};
    {
        Lock lock(e.core.mutex);
        const SnapshotInfo* snapshot = e.history.find(name);
        if (snapshot == nullptr) {
            return Error{ENOENT, text("there is no snapshot '%s'", name.c_str())};
        }
        gone.id = snapshot->id;
    }
    std::vector<uint8_t> record;
    put_record(record, format::RecordType::snapshot_delete, &gone, sizeof(gone));
    TRY(e.log.append_records(record, ExtentKind::hole, Sector(0), 0));
    {
        Lock lock(e.core.mutex);
        e.coalesce_due = true;
    }
    return e.settle(text("snapshot '%s' was deleted", name.c_str()));
}

std::vector<SnapshotInfo> Engine::snapshots() const {
    Lock lock(impl_->core.mutex);
    return impl_->history.snapshots;
}

Result<Engine::Resolved> Engine::resolve(const Moment& moment) { return impl_->resolve(moment); }

Result<Engine::Resolved> Engine::Impl::resolve(const Moment& moment) {
    if (moment.snapshot.has_value() + moment.time.has_value() + moment.sequence.has_value() != 1) {
        return Error{EINVAL, "give exactly one of snapshot, time and sequence"};
    }
    if (moment.time) {
        return resolve_time(*moment.time);
    }
    Lock lock(core.mutex);
    if (moment.snapshot) {
        const SnapshotInfo* snapshot = history.find(*moment.snapshot);
        if (snapshot == nullptr) {
            return Error{ENOENT, text("there is no snapshot '%s'", moment.snapshot->c_str())};
        }
        return Resolved{snapshot->sequence, snapshot->time, history.size_at(snapshot->sequence)};
    }
    if (*moment.sequence > disk.sequence) {
        return Error{ENOENT, text("sequence %llu is not in the history, which ends at %llu",
                                  static_cast<ull>(moment.sequence->value),
                                  static_cast<ull>(disk.sequence.value))};
    }
    if (*moment.sequence < history.floor && history.in_streams(*moment.sequence)) {
        return Resolved{*moment.sequence, history.stream_from(*moment.sequence)->lower_time,
                        history.size_at(*moment.sequence)};
    }
    if (*moment.sequence < history.floor) {
        return Error{ENOENT, text("sequence %llu is no longer in the history, which begins at %llu",
                                  static_cast<ull>(moment.sequence->value),
                                  static_cast<ull>(history.floor.value))};
    }
    const Resolved resolved{*moment.sequence, disk.time, history.size_at(*moment.sequence)};
    if (resolved.sequence == history.floor && history.floor > Sequence(0)) {
        return Resolved{resolved.sequence, history.floor_time, resolved.size};
    }
    lock.unlock();
    return with_time(resolved);
}

// Fills in the time of a state from its batch.
Result<Engine::Resolved> Engine::Impl::with_time(Resolved resolved) {
    if (resolved.sequence.value == 0) {
        resolved.time = Time(superblock.create_time);
        return resolved;
    }
    HistoryReader reading(*this);
    TRY(timeline.for_each_segment(resolved.sequence, resolved.sequence, false,
                                  [&](const SegmentIndex& index) -> Result<void> {
                                      for (const format::IndexRow& row : index.rows) {
                                          if (row.sequence == resolved.sequence.value) {
                                              resolved.time = Time(row.time);
                                          }
                                      }
                                      return {};
                                  }));
    return resolved;
}

// The way from the newest state to another one, found while the guest goes on writing, which adds to it. Then little is left
// to be found while the log's gate is closed. Requires `control`: so no other rollback, and the floor stays where it is.
// What was found stays right meanwhile: states lead back to what the history needs, and the cleaner's moves change none.
Result<std::vector<Overlay>> Engine::Impl::way_to(Sequence target, Sequence* reached) {
    std::vector<Overlay> way;
    for (int round = 0; round < kMostRounds; ++round) {
        Sequence now;
        size_t segments_between;
        {
            Lock lock(core.mutex);
            now = disk.sequence;
            segments_between = segments.log_position(now) - segments.log_position(*reached);
        }
        if (round > 0 && segments_between <= kFewSegments) {
            break;
        }
        TRY_ASSIGN(Overlay step, timeline.difference(now, round == 0 ? target : *reached));
        way.push_back(std::move(step));
        *reached = now;
    }
    return way;
}

// Brings the current map from its state to another one. `way`: to that from state `reached`.
Result<void> Engine::Impl::go_to(Sequence target, std::vector<Overlay>& way, Sequence reached) {
    Sequence from;
    {
        Lock lock(core.mutex);
        from = disk.sequence;
    }
    if (from > reached) {
        TRY_ASSIGN(Overlay rest, timeline.difference(from, reached));
        way.push_back(std::move(rest));
    }
    std::vector<uint8_t> records;
    const format::RollbackRecord record{target.value};
    put_record(records, format::RecordType::rollback, &record, sizeof(record));
    TRY(log.append_records(records, ExtentKind::hole, Sector(0), 0));
    Lock lock(core.mutex);
    Wishes wishes;
    const bool fetches = prefetcher.useful();
    const auto restored = [&](std::span<const Extent> piece) {
        if (fetches) {
            wish_restored(piece, &wishes);
        }
    };
    const bool deep = history.rollbacks.back().deep;
    // The newest changes are undone first.
    for (auto step = way.rbegin(); step != way.rend(); ++step) {
        if (deep) {
            lay_deep(*step, disk, log.open_indexes().back(), restored);
            continue;
        }
        step->take_pieces([&](std::span<const Extent> piece) {
            restored(piece);
            disk.apply_piece(piece);
        });
    }
    recount_use();
    forecast.rolled_back(history.rollbacks.back().sequence);
    prefetcher.want(FetchCause::rollback, wishes);
    return {};
}

Result<Engine::RollbackResult> Engine::rollback(const Moment& moment) {
    TRY(impl_->writable());
    Impl& e = *impl_;
    TaskMutex::Guard guard(e.core.host, e.control);
    TRY_ASSIGN(const Resolved target, e.resolve(moment));
    Sequence from, reached;
    TRY_ASSIGN(std::vector<Overlay> way, e.way_to(target.sequence, &reached));
    // Nothing else may be appended between the rest of the way being taken and its being applied.
    e.log.close_gate();
    {
        Lock lock(e.core.mutex);
        from = e.disk.sequence;
    }
    const Result<void> gone = e.go_to(target.sequence, way, reached);
    e.log.open_gate();
    TRY(gone);
    TRY(e.settle(text("the rollback from %llu to %llu was made", static_cast<ull>(from.value),
                      static_cast<ull>(target.sequence.value))));
    Lock lock(e.core.mutex);
    if (e.needs_capacity_to_open()) {
        e.checkpoint_failed = false;
        e.checkpoint_wanted = true;  // without it, opening takes the capacity image, too
        e.again = true;
        e.on_progress();
    }
    ++e.core.stats.rollbacks;
    return RollbackResult{from, target.sequence, target.time,
                          static_cast<uint32_t>(e.history.rollbacks.size())};
}

Result<std::unique_ptr<FrozenState>> Engine::Impl::freeze(const Resolved& state) {
    auto view = std::make_unique<FrozenState>();
    Sequence now;
    {
        // From here on the view stays at the newest state; then it is taken to the one asked for.
        Lock lock(core.mutex);
        now = disk.sequence;
        disk.add_view(view.get());
    }
    Result<Overlay> found = timeline.difference(now, state.sequence);
    if (!found.ok()) {
        thaw(view.get());
        return Error(found.error());
    }
    Lock lock(core.mutex);
    found.value().take_pieces([&](std::span<const Extent> piece) {
        view->difference.insert_all(piece, ExtentMap::Holes::keep);
    });
    view->sequence = state.sequence;
    view->pinned = std::max(state.sequence, history.floor);
    view->time = state.time;
    view->size = state.size;
    return view;
}

void Engine::Impl::thaw(FrozenState* view) {
    Lock lock(core.mutex);
    disk.remove_view(view);
}

Result<std::unique_ptr<View>> Engine::open_view(const Moment& moment) {
    // A rollback must not change the current map while the difference from it is being taken.
    TaskMutex::Guard guard(impl_->core.host, impl_->control);
    TRY_ASSIGN(const Resolved state, impl_->resolve(moment));
    TRY_ASSIGN(std::unique_ptr<FrozenState> frozen, impl_->freeze(state));
    return std::make_unique<View>(std::make_unique<View::Impl>(*impl_, std::move(frozen)));
}

View::View(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
View::~View() { impl_->engine.thaw(impl_->state.get()); }

uint64_t View::size() const { return impl_->state->size; }
Sequence View::sequence() const { return impl_->state->sequence; }
Time View::time() const { return impl_->state->time; }

Result<void> View::read(uint64_t offset, std::span<const iovec> buffers) {
    const size_t length = total_length(buffers);
    Engine::Impl& e = impl_->engine;
    TRY(e.check_range(offset, length, size()));
    const Sector from(offset / kSectorSize);
    const uint64_t sectors = length / kSectorSize;
    Lock lock(e.core.mutex);
    const std::optional<unsigned> staged = e.staged_reads.wants(from, sectors);
    lock.unlock();
    return staged ? e.staged_reads.read(impl_->state.get(), from, sectors, buffers, *staged)
                  : e.reader.read(impl_->state.get(), from, sectors, buffers, 0);
}

Result<void> View::read_vm_state(uint64_t position, std::span<const iovec> buffers) {
    const size_t length = total_length(buffers);
    TRY(impl_->engine.check_range(position, length, kMaxVmState));
    return impl_->engine.reader.read(impl_->state.get(), kVmStateBase + position / kSectorSize,
                                     length / kSectorSize, buffers, 0);
}

Result<RangeStatus> View::status(uint64_t offset, uint64_t length) {
    return impl_->engine.status(impl_->state.get(), offset, length, false);
}

}  // namespace predsnap
