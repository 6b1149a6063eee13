// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine_json.h"

#include "measures.h"

namespace predsnap::replay {
namespace {

template <typename T>
struct Named {
    const char* name;
    uint64_t T::*member;
};

constexpr Named<EngineStats> kStats[] = {
    {"batches", &EngineStats::batches},
    {"batch-bytes", &EngineStats::batch_bytes},
    {"index-bytes", &EngineStats::index_bytes},
    {"checkpoint-bytes", &EngineStats::checkpoint_bytes},
    {"prewritten-bytes", &EngineStats::prewritten_bytes},
    {"points", &EngineStats::points},
    {"snapshots", &EngineStats::snapshots},
    {"checkpoints", &EngineStats::checkpoints},
    {"checksum-errors", &EngineStats::checksum_errors},
    {"append-errors", &EngineStats::append_errors},
    {"cleaned-segments", &EngineStats::cleaned_segments},
    {"moved-bytes", &EngineStats::moved_bytes},
    {"reclaimed-segments", &EngineStats::reclaimed_segments},
    {"packed-bytes", &EngineStats::packed_bytes},
    {"pack-bytes", &EngineStats::pack_bytes},
    {"packs", &EngineStats::packs},
    {"streams-referred", &EngineStats::streams_referred},
    {"streams-compacted", &EngineStats::streams_compacted},
    {"sealed-bytes", &EngineStats::sealed_bytes},
    {"stream-bytes", &EngineStats::stream_bytes},
    {"coalesced-bytes", &EngineStats::coalesced_bytes},
    {"merges", &EngineStats::merges},
    {"merged-bytes", &EngineStats::merged_bytes},
    {"points-cut", &EngineStats::points_cut},
    {"dictionaries-trained", &EngineStats::dictionaries_trained},
    {"dictionaries-used", &EngineStats::dictionaries_used},
    {"dictionary-savings", &EngineStats::dictionary_savings},
    {"given-back-bytes", &EngineStats::given_back_bytes},
};

constexpr Named<EngineInfo> kSegments[] = {
    {"total", &EngineInfo::segments_total},     {"log", &EngineInfo::segments_log},
    {"index", &EngineInfo::segments_index},     {"checkpoint", &EngineInfo::segments_checkpoint},
    {"ready", &EngineInfo::segments_ready},     {"free", &EngineInfo::segments_free},
    {"stream", &EngineInfo::segments_stream},   {"past", &EngineInfo::segments_past},
    {"leaving", &EngineInfo::segments_leaving},
};

constexpr Named<StagingUse> kUses[] = {
    {"blocks", &StagingUse::entries},       {"hits", &StagingUse::hits},
    {"misses", &StagingUse::misses},        {"admitted", &StagingUse::admitted},
    {"used", &StagingUse::used},            {"evictions", &StagingUse::evictions},
    {"invalidations", &StagingUse::invalidations}, {"refused", &StagingUse::refused},
};

template <typename T, size_t kCount>
std::string object_of(const T& value, const Named<T> (&members)[kCount]) {
    JsonObject object;
    for (const Named<T>& member : members) {
        object.add(member.name, value.*member.member);
    }
    return object.text();
}

}  // namespace

std::string to_json(const EngineInfo& info, const EngineStats& stats) {
    JsonObject history;
    history.add("sequence", info.floor.value).add("time", info.floor_time.value);
    history.add("streams", info.streams).add("packs", info.packs).add("packed", info.packed_live_bytes);
    JsonObject object;
    object.add("image-size", info.image_bytes).add("segment-size", uint64_t{info.segment_size});
    object.add("sequence", info.sequence.value).add("live-extents", info.live_extents);
    object.add("map-memory", info.map_memory_bytes).add("corrupt", info.corrupt);
    object.add_raw("segments", object_of(info, kSegments)).add_raw("history", history.text());
    return object.add_raw("stats", object_of(stats, kStats)).text();
}

std::string to_json(const FineInfo& info) {
    JsonObject object;
    object.add("size", info.staging.limit).add("used", info.staging.bytes);
    object.add_raw("rewrite", object_of(info.staging.by_purpose[0], kUses));
    object.add_raw("read", object_of(info.staging.by_purpose[1], kUses));
    return object.add_raw("prefetch", object_of(info.staging.by_purpose[2], kUses)).text();
}

}  // namespace predsnap::replay
