// SPDX-License-Identifier: GPL-2.0-or-later
//
// Where segments lie in the image.
#pragma once

#include <bit>

#include "format.h"

namespace predsnap {

struct Geometry {
    uint32_t segment_size = 0;
    // Ids at or above this are not believed. Recovery sets it near the image's end, so that a hostile
    // id does no harm; afterwards only the format limits it.
    uint32_t id_limit = UINT32_MAX;

    uint64_t offset(SegmentId id) const {
        return format::kSuperblockArea + uint64_t{id.value} * segment_size;
    }
    Place place(SegmentId id) const { return Place(offset(id) / kSectorSize); }
    // Places are checked by the million: a shift in place of a division.
    unsigned segment_bits() const { return static_cast<unsigned>(std::countr_zero(segment_size)); }
    // The segment a place lies in. Requires a place past the superblock area.
    SegmentId segment_of(Place place) const {
        return SegmentId(static_cast<uint32_t>((to_bytes(place) - format::kSuperblockArea) >>
                                               segment_bits()));
    }
    // The same of what an extent refers to; not of streams.
    SegmentId segment_of(const Extent& extent) const {
        return extent.is_delta() ? delta_segment(extent.unit_place()) : segment_of(extent.place);
    }
    // Deltas have places of their own.
    static uint64_t delta_offset(Place unit) { return (unit - kDeltaPlaces) * kDeltaUnit; }
    static Place delta_place(uint64_t offset) { return kDeltaPlaces + offset / kDeltaUnit; }
    SegmentId delta_segment(Place unit) const {
        return SegmentId(static_cast<uint32_t>((delta_offset(unit) - format::kSuperblockArea) >> segment_bits()));
    }
    // Whether all that a batch puts into that segment has delta places.
    bool holds_deltas(SegmentId id) const {
        return offset(id) + segment_size < (kStreamPlaces - kDeltaPlaces) * kDeltaUnit;
    }
    // Segments that fit wholly in an image of that many bytes.
    uint32_t segments_in(uint64_t image_bytes) const {
        if (image_bytes < format::kSuperblockArea) {
            return 0;
        }
        const uint64_t count = (image_bytes - format::kSuperblockArea) / segment_size;
        return static_cast<uint32_t>(count < max_segments() ? count : max_segments());
    }
    uint64_t image_bytes(uint32_t segments) const { return offset(SegmentId(segments)); }
    // Places of the image have 38 bits, ids 32.
    uint32_t max_segments() const {
        const uint64_t by_place = (to_bytes(kDeltaPlaces) - format::kSuperblockArea) >> segment_bits();
        const uint64_t limit = by_place < kNoSegment.value ? by_place : kNoSegment.value - 1;
        return static_cast<uint32_t>(limit < id_limit ? limit : id_limit);
    }
};

// False for what no correct writer produces: such an image is corrupt or hostile.
inline bool plausible(const Geometry& geometry, const Extent& extent) {
    if (extent.count == 0 || extent.count > kSectorLimit.value || extent.end() > kSectorLimit) {
        return false;
    }
    if (!extent.is_data()) {
        return true;
    }
    // Units of runs do not cross guest blocks.
    const bool fits_run = extent.count <= kMaxDataSectors &&
                          extent.head <= extent.start.value % kSectorsPerBlock &&
                          extent.tail <= align_up(extent.end().value, kSectorsPerBlock) - extent.end().value;
    if (extent.place >= kStreamPlaces) {
        return extent.kind == ExtentKind::run && fits_run && extent.place + extent.count < kPlaceLimit;
    }
    if (extent.is_delta()) {
        return extent.kind == ExtentKind::unit && extent.head == extent.start.value % kSectorsPerBlock &&
               extent.head + extent.count + extent.tail == kSectorsPerBlock &&
               extent.unit_place() >= geometry.delta_place(format::kSuperblockArea) &&
               geometry.delta_segment(extent.unit_place()).value < geometry.max_segments();
    }
    if (to_bytes(extent.place) < format::kSuperblockArea + extent.head * kSectorSize ||
        extent.place + extent.count >= kDeltaPlaces ||
        geometry.segment_of(extent.place).value >= geometry.max_segments()) {
        return false;
    }
    if (extent.kind == ExtentKind::unit) {
        return extent.head + extent.count + extent.tail <= kSectorsPerBlock;
    }
    return fits_run;
}

}  // namespace predsnap
