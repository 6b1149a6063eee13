// SPDX-License-Identifier: GPL-2.0-or-later
//
// An extent: a run of guest sectors whose content is in one place.
//
// Payload in the log is checksummed in *units*. An entry of at most one block (8 sectors) is one unit;
// a longer entry is cut at guest sectors that are multiples of 8. When an extent is cut by a later
// write, head and tail say how many sectors of its first and last unit lie outside it, so that whole
// units can still be read and verified.
#pragma once

#include "types.h"

namespace predsnap {

enum class ExtentKind : uint8_t {
    hole = 0,  // nothing here: the backing disk shows through. Absent from the current map, but
               // stored explicitly where a map lies over another (views) and in undo records
    zero = 1,  // reads as zeros, whatever the backing disk holds
    unit = 2,  // data within one unit, whose checksum is in `checksum`
    run = 3,   // data of a longer entry; checksums are in the segment's index
};

struct Extent {
    Sector start;
    uint64_t count = 0;  // sectors, > 0; at most kMaxDataSectors for unit and run
    ExtentKind kind = ExtentKind::hole;
    uint8_t head = 0;       // 0..7, unit and run only
    uint8_t tail = 0;       // 0..7, unit and run only
    uint32_t checksum = 0;  // unit only: low 32 bits of XXH3-64 of the whole unit
    Place place;            // unit and run only: where the sector `start` is in the image

    bool operator==(const Extent&) const = default;
    Sector end() const { return start + count; }
    bool is_data() const { return kind >= ExtentKind::unit; }
    // Data that is stored as what differs from other data (delta.h). One aligned block, or a part of that.
    bool is_delta() const { return is_data() && place >= kDeltaPlaces && place < kStreamPlaces; }
    bool in_stream() const { return is_data() && place >= kStreamPlaces; }
    // Where the first unit begins. Of a delta, slices of it included, that names it.
    Place unit_place() const { return place - head; }
    // True if the other extent's content can stand in place of this one's, range aside.
    Extent slice(Sector from, Sector to) const;
};

// The longest data entry; longer writes are split. Zero and hole extents may be of any length.
constexpr uint64_t kMaxDataSectors = 4096;  // 2 MiB

// The part [from, to) of the extent, with head and tail adjusted. Requires start <= from < to <= end().
inline Extent Extent::slice(Sector from, Sector to) const {
    Extent part = *this;
    part.start = from;
    part.count = to - from;
    if (!is_data()) {
        return part;
    }
    part.place = place + (from - start);
    if (kind == ExtentKind::unit) {
        part.head = static_cast<uint8_t>(head + (from - start));
        part.tail = static_cast<uint8_t>(tail + (end() - to));
        return part;
    }
    // A cut within the first (last) unit extends the old head (tail); elsewhere units begin and end at
    // multiples of a block.
    const uint64_t first_cut = align_up(start.value + 1, kSectorsPerBlock);
    const uint64_t last_cut = align_down(end().value - 1, kSectorsPerBlock);
    part.head = static_cast<uint8_t>(from.value < first_cut ? head + (from - start)
                                                            : from.value % kSectorsPerBlock);
    part.tail = static_cast<uint8_t>(to.value > last_cut ? tail + (end() - to)
                                                         : align_up(to.value, kSectorsPerBlock) - to.value);
    return part;
}

}  // namespace predsnap
