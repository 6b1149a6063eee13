// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the engine's parts share: the host, the image, the lock, the counters.
#pragma once

#include <mutex>

#include "buffer.h"
#include "device.h"
#include "engine.h"
#include "format.h"
#include "geometry.h"
#include "host.h"

namespace predsnap {

struct Core {
    Core(Host& h, Device& f) : host(h), file(f) {}

    Host& host;
    Device& file;
    Geometry geometry;
    Uuid uuid{};
    uint64_t seed = 0;  // of checksums: binds structures to this image
    uint64_t session = 0;  // drawn at each opening: what two openings write in one place differs
    bool writable = true;

    // Guards all state of the engine's parts that changes after open. Never held across I/O.
    std::mutex mutex;
    EngineStats stats;        // guarded
    bool corrupt = false;     // guarded
};

// The first block of a segment. Magic, image and checksum are filled in; the rest is the caller's.
AlignedBuffer segment_header_block(const Core& core, format::SegmentHeader header);

// The errno-style error of something found wrong in the image. Says so to the host, once each.
Error corruption(Core& core, uint64_t offset, uint64_t length, std::string message);

}  // namespace predsnap
