// SPDX-License-Identifier: GPL-2.0-or-later
#include "fine.h"

#include <algorithm>
#include <cstring>

namespace predsnap {

namespace {

// Longer writes are not fine: they are copies, or sequential.
constexpr uint64_t kMostSectors = 128;
// Each takes a search in the map.
constexpr size_t kSweptAtOnce = 16;
// Of lookups; the clock is looked at that often.
constexpr uint64_t kThresholdLookups = 32;
constexpr float kLoadSmoothing = 1.0f / 16;

}  // namespace

struct FineWrites::Block {
    Sector start;
    Staging::Slot slot;              // gets the new content
    uint8_t* content;
    bool has_before = false;         // and it may be the base
    Staging::Slot before_slot;
    const uint8_t* before = nullptr;
    DeltaBase base;
    bool is_delta = false;
    Delta delta;
};

struct FineWrites::Request {
    Sector start;
    size_t count;
    std::unique_ptr<Block[]> blocks;
    std::vector<iovec> contents;
    float score = 0;
};

FineWrites::FineWrites(Core& core, SegmentTable& segments, DiskState& disk, Log& log, Forecast& forecast)
    : core_(core), segments_(segments), disk_(disk), log_(log), forecast_(forecast) {
    staging_.set_scorer([this](Sector block, Staged purpose, bool used) {
        return forecast_.relevance(block, purpose, used);
    });
}

void FineWrites::configure(const FineOptions& options) {
    const bool anew = options_.staging_bytes != options.staging_bytes || !(options_.threshold == options.threshold);
    options_ = options;
    staging_.set_limit(options.staging_bytes);
    map_.set_mode(options.granularity);
    map_.set_staging(options.staging_bytes);
    map_.set_weight(options.weight);
    forecast_.set_use(options.use);
    if (anew) {
        threshold_.configure(options.threshold, core_.host.uptime_us());
    }
}

bool FineWrites::wants(Sector start, uint64_t sectors) {
    if (staging_.limit() == 0 || sectors > kMostSectors || sectors == 0 ||
        (start.value | sectors) % kSectorsPerBlock != 0 || start >= kVmStateBase ||
        sectors > log_.max_request_sectors()) {
        return false;
    }
    const bool usual = map_.wants(start, sectors, disk_.time);
    if (map_.mode() != Granularity::automatic) {
        return usual;
    }
    if (const std::optional<bool> said = forecast_.fine(start)) {
        return *said && (usual || !map_.is_not_fine(start));
    }
    // What was read is at hand already when it is written for the first time.
    return usual || (staging_.count(Staged::read) > 0 && staging_.contains(start) && map_.is_fine(start));
}

float FineWrites::relevance(Sector block, Staged purpose, float built_in, bool again) {
    if (const std::optional<float> said = forecast_.relevance(block, purpose, again)) {
        return *said;
    }
    return forecast_.decides_staging() ? built_in / 2 : built_in;
}

void FineWrites::note_lookups(uint64_t count) {
    lookups_ += count;
    if (lookups_ < kThresholdLookups) {
        return;
    }
    lookups_ = 0;
    const int64_t now = core_.host.uptime_us();
    if (threshold_.due(now)) {
        const StagingStats stats = staging_.stats();
        threshold_.observe({stats.hits, stats.misses, stats.evictions, stats.bytes, stats.limit}, now);
    }
}

Staging::Source FineWrites::source_of(const Extent& extent) const {
    if (!extent.is_data()) {
        return {extent, core_.backing_use};
    }
    if (extent.in_stream()) {
        return {extent, 0};  // places in streams are never used again
    }
    const SegmentId id = core_.geometry.segment_of(extent);
    return {extent, segments_.contains(id) ? segments_[id].ordinal : 0};
}

// False if the cache has no room, or the blocks are not relevant enough; then nothing is taken.
bool FineWrites::take_slots(Request& request) {
    load_ += kLoadSmoothing * ((log_.busy() ? 1.0f : 0.0f) - load_);
    request.score = relevance(request.start, Staged::rewrite, map_.score(request.start, load_, disk_.time));
    if (request.score < threshold_.value() && map_.mode() != Granularity::fine) {
        staging_.refuse(Staged::rewrite);
        return false;
    }
    for (size_t i = 0; i < request.count; ++i) {
        Block& block = request.blocks[i];
        const auto slot = staging_.take(request.score);
        if (!slot) {
            while (i > 0) {
                staging_.give_back(request.blocks[--i].slot);
            }
            return false;
        }
        block.start = request.start + i * kSectorsPerBlock;
        block.slot = *slot;
        block.content = staging_.content(*slot);
    }
    return true;
}

// What the block holds, if it is staged, and a delta may be based on it.
void FineWrites::find_before(Block& block) {
    Extent now;
    if (!disk_.map.find_whole(block.start, block.start + kSectorsPerBlock, &now) || !now.is_data() ||
        now.in_stream()) {
        return;
    }
    const auto slot = staging_.find(block.start, source_of(now));
    if (!slot) {
        return;
    }
    block.has_before = true;
    block.before_slot = *slot;
    block.before = staging_.content(*slot);
    block.base.extent = now;
    if (now.is_delta()) {
        const DeltaTable::Known* known = segments_.deltas().find(now.unit_place());
        // Of one that is not known nobody knows how deep it is.
        block.base.depth = known != nullptr ? known->chain.depth : format::kMaxDeltaDepth;
        block.base.units = known != nullptr ? known->chain.units : 0;
    }
}

void FineWrites::encode(Request& request) {
    for (size_t i = 0; i < request.count; ++i) {
        Block& block = request.blocks[i];
        // What could not be read again must not be written.
        block.is_delta = block.has_before &&
                         encoder_.encode(block.base, block.before, block.content, &block.delta) &&
                         parse_delta(core_.geometry, block.start, {block.delta.bytes, block.delta.length});
    }
}

// Deltas, and what is between them as it is, in one piece each.
std::vector<Log::Part> FineWrites::parts_of(const Request& request) const {
    std::vector<Log::Part> parts;
    for (size_t i = 0; i < request.count; ++i) {
        const Block& block = request.blocks[i];
        if (!block.is_delta && i > 0 && !request.blocks[i - 1].is_delta) {
            parts.back().sectors += kSectorsPerBlock;
            continue;
        }
        parts.push_back({block.start, kSectorsPerBlock, i * kBlockSize, block.is_delta ? &block.delta : nullptr,
                         block.base.extent});
    }
    return parts;
}

// In 255ths; what changed at all is not told as nothing.
std::optional<uint8_t> FineWrites::changed_share(const Request& request) {
    uint64_t changed = 0, compared = 0;
    for (size_t i = 0; i < request.count; ++i) {
        changed += request.blocks[i].has_before ? request.blocks[i].delta.changed : 0;
        compared += request.blocks[i].has_before ? kBlockSize : 0;
    }
    if (compared == 0) {
        return {};
    }
    return static_cast<uint8_t>(std::min<uint64_t>((changed * 255 + compared - 1) / compared, 255));
}

Result<void> FineWrites::write(Sector start, std::span<const iovec> buffers, std::optional<uint8_t>* changed) {
    Request request{start, total_length(buffers) / kBlockSize, nullptr, {}, 0};
    request.blocks.reset(new Block[request.count]);
    Lock lock(core_.mutex);
    // So that no place of a base is written anew before it is pinned as one.
    const ReadPins::Pin pin = core_.readers.pin();
    const bool staged = take_slots(request);
    for (size_t i = 0; staged && i < request.count; ++i) {
        find_before(request.blocks[i]);
    }
    note_lookups(staged ? request.count : 1);
    lock.unlock();
    if (!staged) {
        return log_.append_data(start, buffers, 0, request.count * kSectorsPerBlock).discard();
    }
    // Guests may change their memory meanwhile: what is compared is what is written.
    for (size_t i = 0; i < request.count; ++i) {
        copy_from(buffers, i * kBlockSize, request.blocks[i].content, kBlockSize);
        request.contents.push_back({request.blocks[i].content, kBlockSize});
    }
    encode(request);
    if (changed != nullptr) {
        *changed = changed_share(request);
    }
    std::vector<Log::Part> parts = parts_of(request);
    std::vector<Extent> placed;
    const Result<Sequence> written = log_.append_parts(parts, request.contents, &placed);
    lock.lock();
    finish(request, placed, parts);
    return written.discard();
}

// `placed` is empty if it has failed.
void FineWrites::finish(Request& request, const std::vector<Extent>& placed, const std::vector<Log::Part>& parts) {
    uint64_t changed = 0, compared = 0;
    size_t part = 0;
    for (size_t i = 0; i < request.count; ++i) {
        Block& block = request.blocks[i];
        if (block.has_before) {
            staging_.unpin(block.before_slot);
            changed += block.delta.changed;
            compared += kBlockSize;
        }
        if (placed.empty()) {
            staging_.give_back(block.slot);
            continue;
        }
        part += block.start >= placed[part].end();
        if (parts[part].delta != nullptr) {
            ++core_.stats.deltas;
            core_.stats.delta_bytes += parts[part].delta->length;
        }
        const Extent extent = placed[part].slice(block.start, block.start + kSectorsPerBlock);
        staging_.put(block.slot, block.start, source_of(extent), request.score);
    }
    if (compared > 0) {
        map_.measured(request.start, changed, compared);
    }
}

bool FineWrites::read(const Extent& extent, std::span<const iovec> buffers, size_t skip) {
    Lock lock(core_.mutex);
    if (staging_.empty()) {
        return false;
    }
    const Extent whole = whole_delta(extent);
    const auto slot = staging_.peek(whole.start, source_of(whole));
    if (!slot) {
        return false;
    }
    const uint8_t* const content = staging_.content(*slot);
    lock.unlock();
    copy_to(buffers, skip, content + extent.head * kSectorSize, extent.count * kSectorSize);
    lock.lock();
    staging_.unpin(*slot);
    return true;
}

void FineWrites::moved(const Extent& now, Place from) {
    if (staging_.empty()) {
        return;
    }
    const Sector first(align_up(now.start.value, kSectorsPerBlock));
    for (Sector block = first; block + kSectorsPerBlock <= now.end(); block += kSectorsPerBlock) {
        const Extent extent = now.slice(block, block + kSectorsPerBlock);
        Extent before = extent;
        before.place = from + (block - now.start);
        // Its segment is still what it was: only now nothing may need it any more.
        staging_.moved(block, before.place, source_of(before).ordinal, source_of(extent));
    }
}

void FineWrites::sweep() {
    staging_.sweep(kSweptAtOnce,
                   [&](Sector block, const Staging::Source& source) { return is_current(block, source); });
}

bool FineWrites::is_current(Sector block, const Staging::Source& source) const {
    const Sector end = block + kSectorsPerBlock;
    Extent now;
    if (source.extent.is_data()) {
        return disk_.map.find_whole(block, end, &now) && source_of(now) == source;
    }
    std::vector<Extent> found;
    disk_.map.lookup(block, end, 1, &found);
    return found.empty() && source_of(source.extent) == source;
}

FineInfo FineWrites::info() const {
    FineInfo info;
    info.options = options_;
    info.staging = staging_.stats();
    info.chunks_fine = map_.fine_count();
    info.live_deltas = segments_.deltas().size();
    info.deltas_learnt = segments_.deltas().complete();
    return info;
}

}  // namespace predsnap
