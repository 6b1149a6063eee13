// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the engine's parts share: the host, the image, the lock, the counters.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>

#include "buffer.h"
#include "device.h"
#include "engine.h"
#include "format.h"
#include "geometry.h"
#include "host.h"

namespace predsnap {

// Who looks a place up in a map reads it after the lock is dropped. What the map no longer refers to is not used
// for anything else before all who might have looked it up until then are done.
class ReadPins {
  public:
    class Pin {
      public:
        ~Pin() { count_.fetch_sub(1, std::memory_order_release); }
        Pin(const Pin&) = delete;
        Pin& operator=(const Pin&) = delete;

      private:
        friend class ReadPins;
        explicit Pin(std::atomic<uint32_t>& count) : count_(count) {
            count_.fetch_add(1, std::memory_order_relaxed);
        }
        std::atomic<uint32_t>& count_;
    };

    // The rest requires Core::mutex. Readers take a pin before they look anything up.
    Pin pin() { return Pin(readers_[epoch_ % 2]); }
    uint64_t epoch() const { return epoch_; }
    // Begins the next epoch, if all who came in the one before this are done.
    void advance() { epoch_ += readers_[(epoch_ + 1) % 2].load(std::memory_order_acquire) == 0; }
    // Whether all are done who came in that epoch or before.
    bool drained(uint64_t epoch) const {
        return epoch_ > epoch + 1 ||
               (epoch_ == epoch + 1 && readers_[epoch % 2].load(std::memory_order_acquire) == 0);
    }

  private:
    std::atomic<uint32_t> readers_[2] = {};
    uint64_t epoch_ = 0;
};

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
    uint64_t backing_use = 0; // guarded: which disk below it is, of those there were since the image was opened
    ReadPins readers;
};

// Checks or decodes that many bytes: on the host's executor, if there are enough to be worth the way there. So it
// goes on beside what tasks compute. Suspends; without the lock.
void compute(Core& core, size_t bytes, const std::function<void()>& work);

// The first block of a segment. Magic, image and checksum are filled in; the rest is the caller's.
AlignedBuffer segment_header_block(const Core& core, format::SegmentHeader header);
// The same, of the image with that identity.
AlignedBuffer segment_header_block(const Core& core, format::SegmentHeader header, const Uuid& owner);

// The errno-style error of something found wrong in the image. Says so to the host, once each.
Error corruption(Core& core, uint64_t offset, uint64_t length, std::string message);

}  // namespace predsnap
