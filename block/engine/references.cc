// SPDX-License-Identifier: GPL-2.0-or-later
//
// References: old history is stored as what differs from the present. A page that was overwritten is mostly much like
// what overwrote it; so a frame of a stream may be stored after the data that the disk has there now (frame.h), if
// that is in a pack: packs are written once, and what they hold stays at its virtual places. A pack that streams
// refer to stays until none does, even if the disk has nothing in it any more; a stream's record names its packs. Packs refer
// to nothing, so what is read for a frame is one other frame or two.
//
// By the one background task, where cold data is packed (pack-after):
//
//   - Each stream that is written, sealed or merged, is tried with what packs have of its sectors, by a sample.
//   - When there is nothing to be packed, older streams are looked at again, as what they are much like may be in
//     packs by now. One that would get smaller by a quarter is written anew and replaced, as by merging it alone.
//   - A pack of which so much was overwritten that it should be packed again is kept by streams: they are written anew
//     without it, if that is no more than four times what becomes free.
//
// Where there is a capacity image nothing is stored so, and what was is written anew before it moves: else history there would
// keep packs here.
#include <algorithm>
#include <map>

#include "engine_impl.h"
#include "stream.h"

namespace predsnap {

namespace {

using format::kFrameSectors;

// When a pack is worn, streams are written anew that are so many times what is dead in it.
constexpr uint64_t kWorth = 4;
// Frames that are tried; and the part that must be saved of what these take: to begin with, and to write a stream anew.
constexpr uint64_t kTried = 16;
constexpr uint64_t kSavedPart = 8, kSavedPartAnew = 4;
// Extents that are looked up at once.
constexpr size_t kExtentsAtOnce = 256;

// Gathers what a frame may be stored after: as far as it lies together.
class FrameCandidate {
  public:
    void add(size_t pack, Place place, uint64_t sectors) {
        if (begin_ == end_) {
            pack_ = pack;
            begin_ = place;
            end_ = place + std::min(sectors, format::kMaxReferenceSectors);
        } else if (pack == pack_ && place >= begin_ && place + sectors <= begin_ + format::kMaxReferenceSectors) {
            end_ = std::max(end_, place + sectors);
        }
    }
    References::Candidate take() {
        const References::Candidate result{begin_, static_cast<uint32_t>(end_ - begin_), static_cast<uint32_t>(pack_)};
        *this = {};
        return result;
    }

  private:
    size_t pack_ = 0;
    Place begin_{0}, end_{0};
};

}  // namespace

// Requires Core::mutex.
std::set<uint64_t> Engine::Impl::referenced_packs() const {
    std::set<uint64_t> result;
    if (!has_packs()) {
        return result;
    }
#if PREDSNAP_CANARY == 12  // a known bug: what streams are stored after is repacked and dropped
    return result;
#endif
    for (const StreamInfo& stream : history.streams) {
        result.insert(stream.references.begin(), stream.references.end());
    }
    streams.add_retired_references(&result);
    return result;
}

bool Engine::Impl::refers() const {
    return options.pack_after_us >= 0 && options.placement == Placement::log && !capacity.present();
}

// Of which streams may be stored after their data: no more than a record of references can name, those with the most of what
// the frames have there.
void Engine::Impl::keep_best_packs(References* references) const {
    std::vector<std::pair<uint64_t, uint32_t>> sectors(references->packs.size());
    for (uint32_t i = 0; i < sectors.size(); ++i) {
        sectors[i].second = i;
    }
    for (const References::Candidate& candidate : references->frames) {
        if (candidate.sectors > 0) {
            sectors[candidate.pack].first += candidate.sectors;
        }
    }
    std::sort(sectors.begin(), sectors.end(), std::greater<>());
    sectors.resize(std::min(sectors.size(), format::kMaxReferencedPacks));
    std::vector<uint32_t> number(references->packs.size(), UINT32_MAX);
    std::vector<StreamInfo> kept;
    for (const auto& [count, pack] : sectors) {
        number[pack] = static_cast<uint32_t>(kept.size());
        kept.push_back(references->packs[pack]);
    }
    for (References::Candidate& candidate : references->frames) {
        const uint32_t now = candidate.sectors > 0 ? number[candidate.pack] : UINT32_MAX;
        candidate = now == UINT32_MAX ? References::Candidate() : References::Candidate{candidate.place, candidate.sectors, now};
    }
    references->packs = std::move(kept);
}

// What packs have of the sectors of each frame of a stream of these extents.
References Engine::Impl::find_references(const ExtentMap& extents) {
    References references;
    std::map<uint64_t, size_t> packs;  // by number: where in references.packs
    {
        Lock lock(core.mutex);
        for (const StreamInfo& stream : history.streams) {
            const SegmentTable::StreamUse* const use = stream.is_pack() ? segments.stream_use(stream.base) : nullptr;
            if (use != nullptr && !is_worn(*use, stream)) {
                packs[stream.id] = references.packs.size();
                references.packs.push_back(stream);
            }
        }
    }
    if (packs.empty()) {
        return references;
    }
    references.frames.reserve(extents.data_sectors() / kFrameSectors + 1);
    uint64_t position = 0;
    FrameCandidate candidate;
    std::vector<Extent> some, there;
    const auto add_piece = [&](Sector from, Sector to) {
        there.clear();
        disk.map.lookup(from, to, SIZE_MAX, &there);
        for (const Extent& extent : there) {
            const StreamInfo* const pack = extent.in_stream() ? history.stream_at(extent.place) : nullptr;
            const auto known = pack == nullptr ? packs.end() : packs.find(pack->id);
            if (known != packs.end()) {
                candidate.add(known->second, extent.place, extent.count);
            }
        }
    };
    for (Sector at{0}; at < kSectorLimit;) {
        some.clear();
        at = extents.lookup(at, kSectorLimit, kExtentsAtOnce, &some);
        Lock lock(core.mutex);
        for (const Extent& extent : some) {
            for (Sector from = extent.start; extent.is_data() && from < extent.end();) {
                const Sector to = std::min(extent.end(), from + (kFrameSectors - position % kFrameSectors));
                add_piece(from, to);
                position += to - from;
                from = to;
                if (position % kFrameSectors == 0) {
                    references.frames.push_back(candidate.take());
                }
            }
        }
    }
    references.frames.push_back(candidate.take());
    keep_best_packs(&references);
    references.read = [this](const StreamInfo& pack, Place place, uint64_t sectors, uint8_t* to) {
        return streams.read_data(pack, place - pack.base, sectors, to);
    };
    return references;
}

// By a sample of whole frames.
Result<Engine::Impl::ReferenceTrial> Engine::Impl::try_references(const ExtentMap& extents, const References& references) {
    ReferenceTrial trial;
    const uint64_t frames = extents.data_sectors() / kFrameSectors;
    const uint64_t stride = std::max<uint64_t>(frames / kTried, 1);
    TRY_ASSIGN(const auto sampled, sample(extents, frames, kTried));
    std::vector<std::vector<uint8_t>> data(sampled.size());
    for (size_t i = 0; i < sampled.size(); ++i) {
        trial.frames.push_back(i * stride);
        if (trial.frames.back() < references.frames.size()) {
            const References::Candidate& candidate = references.frames[trial.frames.back()];
            data[i].resize(candidate.sectors * kSectorSize);
            if (candidate.sectors > 0 && !references.read(references.packs[candidate.pack], candidate.place,
                                                          candidate.sectors, data[i].data()).ok()) {
                data[i].clear();
            }
        }
    }
    core.host.run_on_executor([&] {
        FramePacker packer;
        std::vector<uint8_t> packed;
        for (size_t i = 0; i < sampled.size(); ++i) {
            packer.pack(sampled[i], options.compression_level, nullptr, &packed);
            const uint64_t without = packed.empty() ? sampled[i].size() : packed.size();
            packed.clear();
            if (!data[i].empty()) {
                packer.pack_after(data[i], sampled[i], options.compression_level, &packed);
            }
            trial.without += without;
            trial.with += packed.empty() ? without : std::min<uint64_t>(without, packed.size());
        }
    });
    return trial;
}

// What a stream of these extents is to be stored after: nothing, unless that pays.
Result<References> Engine::Impl::references_for(const ExtentMap& extents) {
    {
        Lock lock(core.mutex);
        if (!refers()) {
            return References();
        }
    }
    References references = find_references(extents);
    const bool any = std::any_of(references.frames.begin(), references.frames.end(),
                                 [](const References::Candidate& candidate) { return candidate.sectors > 0; });
    if (!any) {
        return References();
    }
    TRY_ASSIGN(const ReferenceTrial trial, try_references(extents, references));
    return trial.with < trial.without - trial.without / kSavedPart ? std::move(references) : References();
}

// --- older streams ---

// Streams that keep a worn pack, if writing them anew is worth what is dead in it. Requires Core::mutex.
const StreamInfo* Engine::Impl::keeper_of_worn_pack() const {
    for (const StreamInfo& pack : history.streams) {
        const SegmentTable::StreamUse* const use = pack.is_pack() ? segments.stream_use(pack.base) : nullptr;
        if (use == nullptr || !is_worn(*use, pack)) {
            continue;
        }
        const StreamInfo* first = nullptr;
        uint64_t sectors = 0;
        bool possible = true;
        for (const StreamInfo& stream : history.streams) {
            if (std::find(stream.references.begin(), stream.references.end(), pack.id) != stream.references.end()) {
                first = first == nullptr ? &stream : first;
                sectors += stream.sectors;
                possible = possible && !stream.on_capacity() && stream_use(stream) == StreamUse::none;
            }
        }
        if (first != nullptr && possible && sectors <= kWorth * (pack.sectors - use->live)) {
            return first;
        }
    }
    return nullptr;
}

// One that refers to packs though it is to move. Requires Core::mutex.
const StreamInfo* Engine::Impl::referring_stream_to_move() const {
    const auto found = std::find_if(history.streams.begin(), history.streams.end(), [&](const StreamInfo& stream) {
        return !stream.references.empty() && !stream.on_capacity() && stream_use(stream) == StreamUse::none;
    });
    return capacity.present() && found != history.streams.end() ? &*found : nullptr;
}

// One that was not looked at since a pack was made. Requires Core::mutex.
const StreamInfo* Engine::Impl::stream_to_look_at() {
    for (size_t i = history.chain_length(); i-- > 0;) {
        const StreamInfo& stream = history.streams[i];
        const auto looked = refer_looked_at.find(stream.id);
        if (!stream.on_capacity() && stream.sectors >= kFrameSectors && stream_use(stream) == StreamUse::none &&
            (looked == refer_looked_at.end() || looked->second != core.stats.packs)) {
            return &stream;
        }
    }
    return nullptr;
}

// Whether it would get smaller by enough.
Result<bool> Engine::Impl::worth_writing_anew(const StreamInfo& stream) {
    TRY_ASSIGN(const StreamContent content, merge_streams({stream}));
    TRY_ASSIGN(const auto index, streams.load(stream));
    const References references = find_references(content.extents);
    uint64_t better = 0;
    for (size_t i = 0; i < std::min(references.frames.size(), index->frames.size()); ++i) {
        better += references.frames[i].sectors > 0 && index->frames[i].form < format::kFormAfter;
    }
    if (better < index->frames.size() / kSavedPartAnew || better == 0) {
        return false;
    }
    TRY_ASSIGN(const ReferenceTrial trial, try_references(content.extents, references));
    uint64_t now = 0;
    for (const uint64_t frame : trial.frames) {
        now += index->frames[frame].stored;
    }
    return trial.with < now - now / kSavedPartAnew;
}

// Of one stream: looks at it, and writes it anew if that is worth it.
Result<void> Engine::Impl::refer(const StreamInfo& stream, bool needed) {
    bool worth = needed;
    if (!needed) {
        TRY_ASSIGN(worth, worth_writing_anew(stream));
    }
    if (worth) {
        spend({stream});
        TRY_ASSIGN(const bool done, coalesce({stream}, MergeFor::references));
        core.stats.streams_referred += done;
    }
    return {};
}

bool Engine::Impl::refer_step() {
    StreamInfo stream;
    bool needed;
    {
        Lock lock(core.mutex);
        if (refer_failed || !refer_due || !has_packs() || !segments.counted() || cleaner.busy() || pressing || fast_full || on_demand()) {
            return false;
        }
        const StreamInfo* found = keeper_of_worn_pack();
        found = found != nullptr ? found : referring_stream_to_move();
        needed = found != nullptr;
        found = needed || !refers() ? found : stream_to_look_at();
        refer_due = found != nullptr;
        if (!refer_due) {
            return false;
        }
        stream = *found;
    }
    if (!within_rate()) {
        return false;
    }
    if (const std::optional<bool> made = checkpoints_before_drop()) {
        return *made;
    }
    const Result<void> done = refer(stream, needed);
    Lock lock(core.mutex);
    if (refer_looked_at.size() > 4 * history.streams.size() + 64) {
        refer_looked_at.clear();  // most are gone
    }
    const bool only_paused = !done.ok() && done.error().code == ECANCELED;
    if (!only_paused) {
        refer_looked_at[stream.id] = core.stats.packs;
    }
    refer_failed = !done.ok() && !only_paused;
    note_progress();
    return done.ok();
}

}  // namespace predsnap
