// SPDX-License-Identifier: GPL-2.0-or-later
#include "placement.h"

#include <algorithm>
#include <cassert>

#include "block/engine/types.h"

namespace predsnap::replay {
namespace {

constexpr uint64_t kPartitionStart = 63 * kSectorSize;
constexpr uint64_t kBlock = 4096;
constexpr size_t kUnsortedMax = 1 << 20;  // regions noted before they are sorted

void sort_unique(std::vector<uint64_t>& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

Result<Placement> Placement::of(const std::string& trace, const PlacementOptions& options) {
    Placement placement;
    placement.options_ = options;
    TRY_ASSIGN(TraceReader reader, TraceReader::open(trace));
    while (true) {
        TRY_ASSIGN(const std::optional<Request> request, reader.next());
        if (!request || request->time_us >= options.until_us) {
            break;
        }
        placement.note(*request);
    }
    if (placement.requests_ == 0) {
        return Error{EINVAL, trace + ": there is no request to replay"};
    }
    placement.settle();
    return placement;
}

uint64_t Placement::aligned(uint64_t offset) const {
    const bool of_partition =
        offset >= kPartitionStart && offset % kBlock == kPartitionStart % kBlock;
    return options_.align && of_partition ? offset - kPartitionStart : offset;
}

void Placement::note(const Request& request) {
    const uint64_t begin = aligned(request.offset), end = begin + request.length;
    for (uint64_t region = begin / kRegion; region <= (end - 1) / kRegion; ++region) {
        if (regions_.empty() || regions_.back() != region) {
            regions_.push_back(region);
        }
    }
    if (regions_.size() > 2 * kUnsortedMax) {
        sort_unique(regions_);
    }
    ++requests_;
    writes_ += request.write ? 1 : 0;
    written_bytes_ += request.write ? request.length : 0;
    span_us_ = request.time_us;
}

void Placement::settle() {
    sort_unique(regions_);
    disk_size_ = (regions_.back() + 1) * kRegion;
    dense_ = options_.dense || disk_size_ > kPlainSizeMax;
    if (dense_) {
        disk_size_ = regions_.size() * kRegion;
    } else {
        regions_.clear();
    }
}

Request Placement::place(Request request) const {
    request.offset = aligned(request.offset);
    if (dense_) {
        const uint64_t region = request.offset / kRegion;
        const auto found = std::lower_bound(regions_.begin(), regions_.end(), region);
        assert(found != regions_.end() && *found == region);
        const auto index = static_cast<uint64_t>(found - regions_.begin());
        request.offset = index * kRegion + request.offset % kRegion;
    }
    assert(request.offset + request.length <= disk_size_);
    return request;
}

}  // namespace predsnap::replay
