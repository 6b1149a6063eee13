// SPDX-License-Identifier: GPL-2.0-or-later
//
// The capacity tier: a second, slower image that sealed streams (stream.h) are moved to.
//
// It has a superblock that says whose it is, and segments with streams. Which segment holds what is only in the log of
// the image it belongs to: a stream's record names its tier and its segments. So nothing in it is ever changed in place,
// and all segments that no stream refers to are free. A stream moves in these steps (tiers.cc), and a crash at any of them
// finds it in one place or the other, whole:
//   1. its frames are copied into free segments of the capacity image, verified, and flushed;
//   2. one batch of the log says that it lies there now;
//   3. when that is durable, and nobody reads there any more, where it was is free.
#pragma once

#include <map>
#include <set>
#include <span>
#include <vector>

#include "buffer.h"
#include "core.h"
#include "stream_tier.h"

namespace predsnap {

// The superblock in the first 8 KiB of a capacity image. Errors: EINVAL, ENOTSUP.
Result<format::CapacitySuperblock> parse_capacity(std::span<const uint8_t> head);

class Capacity final : public StreamTier {
  public:
    explicit Capacity(Core& core) : core_(core), watched_(*this) {}

    // Looks at what the device holds and, if that is the capacity image that is expected, uses it; if it is empty,
    // or another one of this disk, says so. Errors: EINVAL for what belongs to something else; what the device
    // returned.
    Result<void> attach(Device& device);
    // Which one it must be; all zeros: any.
    void expect(const Uuid& id) { expected_ = id; }
    bool blank() const { return blank_; }
    bool unexpected() const { return unexpected_; }
    // Makes a new, empty one of it, durably.
    Result<void> make(Device& device);
    // Uses what was unexpected, all the same.
    void accept(Device& device) { device_ = &device; }
    // Streams can be read and written. Set while the image is opened.
    bool present() const { return device_ != nullptr; }
    const Uuid& id() const { return id_; }

    // Reads from a segment of it. Errors: EIO, with what to do; reported.
    Result<void> read(SegmentId id, uint64_t offset, uint8_t* to, size_t length);
    // Nothing can be read or written: says what is to be done. Reported.
    Error absent();
    // What is written to it, and fails, is reported: once, until a flush succeeds.
    Device& device() override { return watched_; }
    const Uuid& owner() const override { return id_; }

    // --- Require Core::mutex ---
    Result<SegmentId> take() override;
    void release(SegmentId id) override;
    // One more, or one less, that has something in these segments: streams, and who is going to put one there.
    void hold(const std::vector<SegmentId>& ids);
    // Appends to `unused` those that hold nothing any more; they are free only after release().
    void let_go(const std::vector<SegmentId>& ids, std::vector<SegmentId>* unused);
    size_t used() const { return used_.size(); }
    // How long the image is, as far as it is known.
    uint64_t bytes() const {
        const uint32_t end = used_.empty() ? 0 : used_.rbegin()->first + 1;
        return present() ? core_.geometry.image_bytes(end > next_ ? end : next_) : 0;
    }
    bool full() const { return full_; }

  private:
    // The node, with an eye on what fails.
    class Watched final : public Device {
      public:
        explicit Watched(Capacity& capacity) : capacity_(capacity) {}
        Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override {
            return capacity_.device_->preadv(offset, buffers);
        }
        Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override {
            return capacity_.noted(capacity_.device_->pwritev(offset, buffers));
        }
        Result<void> write_zeroes(uint64_t offset, uint64_t length) override {
            return capacity_.noted(capacity_.device_->write_zeroes(offset, length));
        }
        Result<void> discard(uint64_t offset, uint64_t length) override {
            return capacity_.device_->discard(offset, length);
        }
        Result<void> flush() override;
        Result<uint64_t> length() override { return capacity_.device_->length(); }
        Result<void> truncate(uint64_t length) override { return capacity_.device_->truncate(length); }

      private:
        Capacity& capacity_;
    };
    bool is_blank(const AlignedBuffer& head) const;
    Result<void> noted(Result<void> done);
    void report_once(Event event, bool* reported, const std::string& message);

    Core& core_;
    Device* device_ = nullptr;
    Watched watched_;
    Uuid id_{}, expected_{};
    bool blank_ = false, unexpected_ = false;
    // Guarded by Core::mutex.
    std::map<uint32_t, uint32_t> used_;  // how many have something in it
    std::set<uint32_t> released_;        // free, below next_
    uint32_t next_ = 0;                  // from here on all that are not in use are free
    bool full_ = false, failed_ = false;
};

}  // namespace predsnap
