// SPDX-License-Identifier: GPL-2.0-or-later
//
// Retention: where history begins. The floor is raised from the end of one segment of the log to that of a later
// one, by a record in the log; what lies before it can no longer be gone back to, and its segments are past: they
// keep only data of the current state.
#include <algorithm>

#include "engine_impl.h"
#include "text.h"

namespace predsnap {

namespace {

// So many segments are written to at any time: a limit below cannot be kept.
constexpr uint64_t kLeastSegments = 4;
// Segments of log that go into streams at once: it bounds how much memory and space that takes meanwhile.
constexpr size_t kMostSealed = 64;
// How much older history gets at most while the image is closed.
constexpr uint64_t kPartOfWindow = 8;

}  // namespace

Retention Engine::Impl::retention() const {
    Retention result;
    if ((superblock.retention & format::kRetainWindow) != 0) {
        result.window_us = superblock.cdp_window_us;
    }
    if ((superblock.retention & format::kRetainBytes) != 0) {
        result.bytes = superblock.cdp_bytes;
    }
    for (uint32_t i = 0; i < superblock.rule_count; ++i) {
        result.rules.push_back({superblock.rules[i].every_us, superblock.rules[i].for_us});
    }
    return result;
}

Retention Engine::retention() const {
    Lock lock(impl_->core.mutex);
    return impl_->retention();
}

Result<void> Engine::check_retention(const Retention& retention) const {
    const uint64_t least = kLeastSegments * impl_->core.geometry.segment_size;
    if (retention.bytes && *retention.bytes < least) {
        return Error{EINVAL, text("history cannot be limited to %llu bytes; %llu is the least for segments of %u",
                                  static_cast<ull>(*retention.bytes), static_cast<ull>(least),
                                  impl_->core.geometry.segment_size)};
    }
    if (retention.window_us && *retention.window_us < 0) {
        return Error{EINVAL, "the window of history cannot be negative"};
    }
    return check_rules(retention);
}

Result<void> Engine::set_retention(const Retention& retention) {
    TRY(impl_->writable());
    TRY(check_retention(retention));
    // What was going to be dropped by the limits before is dropped when this returns, and nothing else.
    TaskMutex::Guard guard(impl_->core.host, impl_->control);
    if (retention != this->retention()) {
        TRY(impl_->update_superblock([&](format::Superblock& block) {
            block.retention = (retention.window_us ? format::kRetainWindow : 0) |
                              (retention.bytes ? format::kRetainBytes : 0);
            block.cdp_window_us = retention.window_us.value_or(0);
            block.cdp_bytes = retention.bytes.value_or(0);
            block.rule_count = static_cast<uint32_t>(retention.rules.size());
            std::fill(std::begin(block.rules), std::end(block.rules), format::RetentionRuleRow{});
            std::transform(retention.rules.begin(), retention.rules.end(), block.rules, [](const RetentionRule& rule) {
                return format::RetentionRuleRow{rule.every_us, rule.for_us};
            });
        }));
    }
    Lock lock(impl_->core.mutex);
    impl_->coalesce_due = true;
    impl_->on_progress();
    return {};
}

// The clock goes on from where it is known to have been, and a part of the window at most: the image may have been
// closed for long, or the computer's clock may be wrong.
void Engine::Impl::start_retention() {
    const std::vector<SegmentId>& list = segments.log();
    int64_t reading = history.floor_clock;
    for (const SegmentId id : list) {
        reading = std::max(reading, segments[id].age_mark);
    }
    const Time now = core.host.now();
    if (disk.time < now) {
        const auto closed = static_cast<uint64_t>(now.value) - static_cast<uint64_t>(disk.time.value);
        const auto most = static_cast<uint64_t>(retention().window_us.value_or(0)) / kPartOfWindow;
        reading = std::min(reading, INT64_MAX / 2);  // a hostile image may say anything
        reading += static_cast<int64_t>(std::min(closed, most));
    }
    retention_clock.start(reading, core.host.uptime_us());
    for (const SegmentId id : list) {
        if (!segments[id].has_index()) {
            segments[id].age_mark = reading;  // not known
        }
    }
    newest_aged = list.empty() ? 0 : segments[list.back()].ordinal;
}

// The log has moved on.
void Engine::Impl::count_age() {
    retention_clock.tick(core.host.uptime_us());
    // Those written to since the last time, the one that was the newest then among them.
    const std::vector<SegmentId>& list = segments.log();
    for (size_t i = list.size(); i-- > 0;) {
        segments[list[i]].age_mark = retention_clock.reading();
        if (segments[list[i]].ordinal <= newest_aged) {
            break;
        }
    }
    // A segment whose first batch fails leaves the log again.
    newest_aged = list.empty() ? 0 : segments[list.back()].ordinal;
}

// No later state can be the floor.
Sequence Engine::Impl::oldest_wanted() const {
    return std::min(log.durable(), disk.sequence);
}

// The branch that a rollback left hangs on the state it went to: they are kept or dropped together.
bool Engine::Impl::splits_branch(Sequence floor) const {
    return std::any_of(history.rollbacks.begin(), history.rollbacks.end(), [&](const History::Rollback& r) {
        return !r.deep && r.target < floor && floor < r.sequence;
    });
}

// The floor only rises to the end of a segment that is full. What is to go on demand may have been overwritten by the newest,
// which would hold it back until the guest has filled that.
Result<void> Engine::Impl::close_newest_segment() {
    format::FloorRecord record{};
    {
        Lock lock(core.mutex);
        if (!on_demand() || !demand.until || demand.closed || segments.log().empty()) {
            return {};
        }
        demand.closed = true;
        const Segment& newest = segments[segments.log().back()];
        if (newest.last < newest.first || newest.times.last > *demand.until) {
            return {};
        }
        log.close_segment();
        record = {history.floor.value, history.floor_time.value, history.floor_clock};
    }
    // It is closed when the next is begun: by saying of the floor what is so already.
    std::vector<uint8_t> records;
    put_record(records, format::RecordType::floor, &record, sizeof(record));
    TRY(log.append_records(records, ExtentKind::hole, Sector(0), 0));
    return {};
}

// The segment whose last state can be the floor, or none.
SegmentId Engine::Impl::choose_floor(bool* forced, size_t most_segments) const {
    const Retention limits = retention();
    const std::vector<SegmentId>& list = segments.log();
    const Sequence wanted = oldest_wanted();
    const uint64_t history_bytes = list.size() * uint64_t{core.geometry.segment_size};
    const size_t missing = fast_full && limits.window_us && all_reclaimed() ? segments_missing() : 0;
    SegmentId chosen = kNoSegment;
    *forced = false;
    for (size_t i = 0; i < most_segments && i + 1 < list.size(); ++i) {
        const Segment& segment = segments[list[i]];
        if (!segment.has_index() || segment.last > wanted || segment.last <= history.floor) {
            break;
        }
        const bool demanded = on_demand() && demand.until && segment.times.last <= *demand.until;
        const bool old =
            demanded || (limits.window_us && retention_clock.age(segment.age_mark) >= *limits.window_us);
        const bool too_much =
            i < missing ||
            (limits.bytes && history_bytes - i * uint64_t{core.geometry.segment_size} > *limits.bytes);
        if (!old && !too_much) {
            break;
        }
        if (!splits_branch(segment.last)) {
            chosen = list[i];
            *forced = !old && limits.window_us.has_value();
        }
    }
    return chosen;
}

Kept Engine::Impl::why_kept(Sequence point, const KeptStates& kept) const {
    const Retention limits = retention();
    if (!limits.limited()) {
        return Kept::all;
    }
    if (is_snapshot(point)) {
        return Kept::snapshot;
    }
    if (point < history.floor) {
        return keeps(kept, point) ? Kept::rule : Kept::leaving;
    }
    const std::vector<SegmentId>& list = segments.log();
    const size_t at = segments.log_position(point);
    if (at >= list.size() || !limits.window_us) {
        return Kept::window;
    }
    const bool young = retention_clock.age(segments[list[at]].age_mark) < *limits.window_us;
    return young ? Kept::window : Kept::leaving;
}

// What cannot be read, say, will not be readable soon: it is tried again after more and more segments of log.
void Engine::Impl::sealing_failed(const Error& error) {
    Lock lock(core.mutex);
    if (error.code != ECANCELED) {
        seal_failed = true;
        seal_backoff = std::min<unsigned>(kMostSealed, 2 * seal_backoff + 1);
        seal_wait = seal_backoff;
        demand.error = error.code;
    }
}

bool Engine::Impl::raise_floor_step() {
    bool forced, full = false;
    SegmentId last;
    Retention limits;
    const Result<void> closed = close_newest_segment();
    {
        Lock lock(core.mutex);
        floor_failed = floor_failed || !closed.ok();
        if (floor_failed || seal_failed) {
            return false;
        }
        last = choose_floor(&forced, kMostSealed);
        if (last == kNoSegment || too_little_to_seal(last)) {
            last = choose_floor(&forced);  // a branch is longer than that
        }
        if (last == kNoSegment || too_little_to_seal(last)) {
            return false;
        }
        limits = retention();
    }
    SealedStreams sealed(*this);
    Result<std::vector<OldState>> states = sealable(&last);
    const Result<void> written = states.ok() ? seal(states.value(), &sealed) : Result<void>(Error(states.error()));
    if (!written.ok()) {
        sealing_failed(written.error());
        return false;
    }
    // Not while a rollback or a view reads the history.
    TaskMutex::Guard guard(core.host, control);
    format::FloorRecord record{};
    {
        // What was asked for, and the branches there are, may have changed meanwhile.
        Lock lock(core.mutex);
        bool still_forced;
        const SegmentId now = choose_floor(&still_forced);
        if (now == kNoSegment || segments[now].last < segments[last].last || splits_branch(segments[last].last)) {
            return false;
        }
        if (retention() != limits) {
            return true;  // other states are kept now
        }
        forced = still_forced;
        full = fast_full;
        record.sequence = segments[last].last.value;
        record.time = segments[last].times.last.value;
        record.clock = segments[last].age_mark;
    }
    const std::string why = full ? "the image, which cannot grow,"
                                 : text("the limit of %llu bytes", static_cast<ull>(limits.bytes.value_or(0)));
    std::vector<uint8_t> records;
    for (const StreamInfo& stream : sealed.streams) {
        put_stream(records, stream);
    }
    put_record(records, format::RecordType::floor, &record, sizeof(record));
    const bool raised = log.append_records(records, ExtentKind::hole, Sector(0), 0).ok();
    adopt(sealed, raised);
    {
        Lock lock(core.mutex);
        floor_failed = !raised;
        seal_backoff = 0;
        reclaim_due = clean_due = coalesce_due = true;
        note_progress();
    }
    if (raised && forced) {
        core.host.report(Event::window_shrunk, 0, 0,
                         text("history now begins at %lld (microseconds since the epoch): %s does not hold all of the "
                              "window of %lld s",
                              static_cast<long long>(record.time), why.c_str(),
                              static_cast<long long>(limits.window_us.value_or(0) / 1'000'000)));
    }
    return raised;
}

}  // namespace predsnap
