// SPDX-License-Identifier: GPL-2.0-or-later
//
// Compaction: streams share segments, so when one is dropped, merged or written anew, what it had stays taken while another
// is in the same segment. The others are copied together, as they are stored, when that frees enough: what is copied
// is no more than four times what becomes free. They stay the same in all but where they lie, as streams that move to the
// capacity image do (tiers.cc), and by the same steps: copy, flush, one batch that drops and adds each. By the one
// background task.
#include <algorithm>
#include <map>

#include "engine_impl.h"
#include "stream.h"

namespace predsnap {

namespace {

// Of what streams take, so much may be nobody's before anything is copied, and so many segments; while the disk rests, only these.
constexpr uint64_t kWastedPart = 8;
constexpr uint64_t kWastedSegments = 2, kWastedAtRest = 1;
// A group is copied if it frees at least that part of what it takes;
constexpr uint64_t kWorth = 4;
// and no more at once, in segments: the copy needs room beside it.
constexpr uint64_t kMostCopied = 2;
// The records of so many fit into one batch.
constexpr size_t kMostStreams = 32;
// Segments that a group is looked for around.
constexpr size_t kLookedAt = 16;

// Which streams are in which segments, and how much of each they fill.
class StreamSpace {
  public:
    struct Placed {
        const StreamInfo* stream;
        uint64_t begin;  // of its content, in its first segment
        uint64_t bytes() const { return stream->index_offset + stream->index_bytes - begin; }
    };

    // `capacity`: bytes of content in a segment. The streams stay where they are. `open`: is being filled, so what is left
    // of it is not wasted.
    StreamSpace(uint64_t capacity, SegmentId open) : capacity_(capacity), open_(open) {}

    void add(const StreamInfo& stream, uint64_t begin) {
        const size_t number = streams_.size();
        streams_.push_back({&stream, begin});
        const uint64_t end = begin + streams_.back().bytes();
        for (size_t i = 0; i < stream.segments.size(); ++i) {
            Use& use = segments_[stream.segments[i]];
            const uint64_t from = std::max(begin, i * capacity_), to = std::min(end, (i + 1) * capacity_);
            use.bytes += to - std::min(from, to);
            use.streams.push_back(number);
        }
    }

    // Streams to be copied together; none if that is not worth it.
    std::vector<const StreamInfo*> choose(bool resting) const {
        std::vector<std::pair<uint64_t, SegmentId>> by_waste;
        uint64_t wasted = 0;
        for (const auto& [id, use] : segments_) {
            if (const uint64_t waste = waste_of(id, use); waste > 0) {
                wasted += waste;
                by_waste.emplace_back(waste, id);
            }
        }
        const uint64_t most = std::max(kWastedSegments, segments_.size() / kWastedPart);
        if (wasted < capacity_ * (resting ? kWastedAtRest : most)) {
            return {};
        }
        std::sort(by_waste.rbegin(), by_waste.rend());
        by_waste.resize(std::min(by_waste.size(), kLookedAt));
        Group best;
        for (const auto& [waste, id] : by_waste) {
            Group group = grow_from(id);
            if (best.streams.empty() || group.worth() > best.worth()) {
                best = std::move(group);
            }
        }
        std::vector<const StreamInfo*> chosen;
        for (const size_t number : best.streams) {
            chosen.push_back(streams_[number].stream);
        }
        return chosen;
    }

  private:
    struct Use {
        uint64_t bytes = 0;
        std::vector<size_t> streams;
    };
    struct Group {
        std::set<size_t> streams;
        uint64_t copied = 0, freed = 0;
        double worth() const {
            return copied == 0 ? 0 : (static_cast<double>(freed) - static_cast<double>(copied)) / static_cast<double>(copied);
        }
    };

    uint64_t waste_of(SegmentId id, const Use& use) const { return id == open_ ? 0 : capacity_ - std::min(capacity_, use.bytes); }

    bool is_within(const Use& use, const std::set<size_t>& streams) const {
        return std::all_of(use.streams.begin(), use.streams.end(), [&](size_t number) { return streams.contains(number); });
    }

    // The segments that a group's streams are in: bytes of those that nobody else is in; and of the others the one in which the
    // most is wasted.
    uint64_t look_around(const std::set<size_t>& streams, SegmentId* border) const {
        std::set<SegmentId> touched;
        for (const size_t number : streams) {
            touched.insert(streams_[number].stream->segments.begin(), streams_[number].stream->segments.end());
        }
        uint64_t freed = 0, most = 0;
        *border = kNoSegment;
        for (const SegmentId id : touched) {
            const Use& use = segments_.at(id);
            if (is_within(use, streams)) {
                freed += id == open_ ? use.bytes : capacity_;
            } else if (waste_of(id, use) >= most) {
                most = waste_of(id, use);
                *border = id;
            }
        }
        return freed;
    }

    // What is in the segment, and then in those next to it, as far as that is worth the most.
    Group grow_from(SegmentId start) const {
        Group best, group;
        for (SegmentId next = start; next != kNoSegment;) {
            for (const size_t number : segments_.at(next).streams) {
                group.copied += group.streams.insert(number).second ? streams_[number].bytes() : 0;
            }
            if (group.copied > kMostCopied * capacity_ || group.streams.size() > kMostStreams) {
                break;
            }
            group.freed = look_around(group.streams, &next);
            const bool pays = group.freed >= group.copied + group.copied / kWorth;
            if (pays && (best.streams.empty() || group.worth() > best.worth())) {
                best = group;
            }
        }
        return best;
    }

    const uint64_t capacity_;
    const SegmentId open_;
    std::vector<Placed> streams_;
    std::map<SegmentId, Use> segments_;
};

}  // namespace

// Where the content of a stream begins in its first segment, which its index tells.
Result<uint64_t> Engine::Impl::content_begin(const StreamInfo& stream) {
    TRY_ASSIGN(const auto index, streams.load(stream));
    uint64_t begin = stream.index_offset;
    if (!index->frames.empty()) {
        begin = std::min(begin, index->frames.front().offset);
    }
    return index->summary.dictionary == 0 ? begin : std::min(begin, index->summary.dictionary_offset);
}

// Of all that are in the image and can be read. What has gone is forgotten.
Result<void> Engine::Impl::learn_content_begins() {
    std::vector<StreamInfo> unknown;
    {
        Lock lock(core.mutex);
        std::map<uint64_t, ContentBegin> known;
        for (const StreamInfo& stream : history.streams) {
            const auto found = content_begins.find(stream.id);
            if (found != content_begins.end() && found->second.index_hash == stream.index_hash) {
                known.insert(*found);
            } else if (!stream.on_capacity() && !unmovable.contains(stream.id)) {
                unknown.push_back(stream);
            }
        }
        content_begins = std::move(known);
    }
    for (const StreamInfo& stream : unknown) {
        const Result<uint64_t> begin = content_begin(stream);
        Lock lock(core.mutex);
        if (begin.ok()) {
            content_begins[stream.id] = {stream.index_hash, begin.value()};
        } else {
            unmovable.insert(stream.id);
        }
        if (paused) {
            return Error{ECANCELED, "background work is paused"};
        }
    }
    return {};
}

// Packs and streams, each for themselves: they do not share segments. Oldest first. Requires Core::mutex.
std::vector<StreamInfo> Engine::Impl::streams_to_compact() const {
    for (const bool packs : {false, true}) {
        StreamSpace space(core.geometry.segment_size - kBlockSize, (packs ? pack_tail : stream_tail).segment);
        for (auto stream = history.streams.rbegin(); stream != history.streams.rend(); ++stream) {
            const auto begin = content_begins.find(stream->id);
            if (stream->is_pack() == packs && !stream->on_capacity() && !unmovable.contains(stream->id) && begin != content_begins.end() &&
                begin->second.index_hash == stream->index_hash) {
                space.add(*stream, begin->second.begin);
            }
        }
        std::vector<StreamInfo> chosen;
        for (const StreamInfo* const stream : space.choose(resting)) {
            chosen.push_back(*stream);
        }
        if (!chosen.empty()) {
            return chosen;
        }
    }
    return {};
}

bool Engine::Impl::compact_step() {
    {
        Lock lock(core.mutex);
        if (!compact_due || compact_failed || history.streams.empty() || !segments.counted() || cleaner.busy() || pressing || fast_full) {
            return false;
        }
    }
    if (!within_rate()) {
        return false;
    }
    Result<void> done = learn_content_begins();
    std::vector<StreamInfo> chosen;
    if (done.ok()) {
        Lock lock(core.mutex);
        chosen = streams_to_compact();
        compact_due = !chosen.empty();
    }
    if (!chosen.empty()) {
        if (const std::optional<bool> made = checkpoints_before_drop()) {
            return *made;
        }
        spend(chosen);
        done = move_streams(chosen, format::Tier::fast);
    }
    Lock lock(core.mutex);
    compact_failed = !done.ok() && done.error().code != ECANCELED;
    reclaim_due = reclaim_due || !chosen.empty();
    return done.ok() && !chosen.empty();
}

}  // namespace predsnap
