// SPDX-License-Identifier: GPL-2.0-or-later
//
// A simulated disk with a volatile cache, under the scheduler's time and one seed.
//
// Writes take a random time and complete in any order. A completed write is in the cache; a flush
// makes durable what had completed when it began. On a power loss each sector that a write in the
// cache (or not yet completed) touched is, by itself, new or old: so writes are lost, torn and
// reordered. When only the process dies, the cache lives on and writes in flight may or may not
// have reached it.
//
// Faults: EIO, no space, slow requests, bits flipped in what is stored.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "block/engine/device.h"
#include "random.h"
#include "scheduler.h"

namespace predsnap::sim {

enum class Death : uint8_t { power_loss, process_killed };

struct DiskOptions {
    uint64_t latency_us_max = 200;
    double slow_probability = 0.01;     // of a request taking up to 500 times that
    bool garbage_in_new_space = false;  // space never written reads as garbage, else as zeros
    bool late_capture = false;          // some writes read their buffers only when they complete
};

struct DiskFaults {
    double read_error = 0;
    double write_error = 0;
    double flush_error = 0;
};

struct DiskStats {
    uint64_t reads = 0, writes = 0, write_bytes = 0, flushes = 0, discards = 0, zeroes = 0;
    uint64_t errors_injected = 0, no_space = 0, bits_flipped = 0;
    uint64_t sectors_lost = 0, sectors_kept = 0;  // unflushed ones, at power losses
};

class SimDisk final : public Device {
  public:
    SimDisk(Scheduler& scheduler, uint64_t seed, const DiskOptions& options);

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override;
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override;
    Result<void> discard(uint64_t offset, uint64_t length) override;
    Result<void> flush() override;
    Result<uint64_t> length() override;
    Result<void> truncate(uint64_t length) override;

    // The disk dies once this many more requests have been started; 0: at once. From then on all
    // fails.
    void die_after(uint64_t requests);
    void die();
    void call_off_death() { requests_to_death_ = UINT64_MAX; }
    bool dead() const { return dead_; }
    // Another disk of the same machine: both die at once, this one's requests count for the other's die_after(), and
    // the other's restart() is this one's, too.
    void follow(SimDisk& leader) {
        leader_ = &leader;
        leader.follower_ = this;
    }
    // Decides what of the unflushed writes survived, and works again.
    void restart(Death death);

    void set_faults(const DiskFaults& faults) { faults_ = faults; }
    // Space in bytes that can be written, in blocks of 4 KiB as a file system counts them.
    void set_capacity(uint64_t bytes) { capacity_ = bytes; }
    uint64_t allocated_bytes() const;
    // Inverts one bit of what is stored; whatever is in the cache for that sector has it too.
    void flip_bit(uint64_t offset, unsigned bit);
    // What a read would give now.
    const std::vector<uint8_t>& content() const { return current_; }
    // Is told of each request that begins: for traces.
    using Observer = std::function<void(const char* kind, uint64_t offset, uint64_t length)>;
    void observe(Observer observer) { observer_ = std::move(observer); }
    uint64_t requests_in_flight() const { return in_flight_.size(); }
    const DiskStats& stats() const { return stats_; }

  private:
    enum class Kind : uint8_t { read, write, write_zeroes, discard, flush, truncate };
    struct Request {
        Kind kind;
        uint64_t offset = 0;
        uint64_t length = 0;
        std::vector<iovec> buffers{};
        std::vector<uint8_t> data{};  // of writes, once captured
        bool captured = false;
        uint64_t flush_mark = 0;    // newest cached write that a flush covers
        uint64_t flush_length = 0;  // of the disk when the flush began
        uint64_t flush_order = 0;
        int error = 0;  // decided in advance
        SimTask* task = nullptr;
        Result<void> result{};
    };
    // A completed, unflushed change of a range.
    struct Cached {
        uint64_t id;
        uint64_t offset;
        std::vector<uint8_t> data;
    };

    Result<void> perform(Request& request);
    Result<void> start_changing(Request& request);
    uint64_t latency();
    int draw_error(Kind kind);
    bool allocate(uint64_t offset, uint64_t length);
    void free_blocks(uint64_t offset, uint64_t length);
    void capture(Request& request);
    void complete(uint64_t id);
    void finish(Request& request);
    void apply_partly(Request& request);
    void apply(uint64_t offset, std::vector<uint8_t> data);
    void apply_flush(const Request& request);
    void apply_truncate(uint64_t length);
    void grow(uint64_t length);
    std::vector<uint8_t> fill(uint64_t offset, uint64_t length);
    void settle_in_flight(Death death);
    void lose_power();
    void copy_durable(uint64_t begin, uint64_t end);
    uint64_t surviving_length();

    Scheduler& scheduler_;
    Random random_;
    const DiskOptions options_;
    DiskFaults faults_;
    uint64_t capacity_ = UINT64_MAX;

    std::vector<uint8_t> current_;  // what reads see; its size is the disk's length
    std::vector<uint8_t> durable_;  // what has been flushed; may be longer
    uint64_t durable_length_ = 0;
    uint64_t durable_order_ = 0;  // of the flush that made that length durable
    std::deque<Cached> cached_;   // in order of completion
    // Where, but for what is cached, current_ and durable_ differ: beginnings and ends.
    std::vector<std::pair<uint64_t, uint64_t>> regrown_;
    uint64_t next_cached_ = 1;
    std::vector<bool> allocated_;  // by block
    uint64_t allocated_count_ = 0;

    std::map<uint64_t, Request*> in_flight_;
    std::vector<Request> frozen_;  // in flight when the disk died
    uint64_t next_request_ = 1;
    uint64_t requests_to_death_ = UINT64_MAX;
    bool dead_ = false;
    SimDisk* leader_ = nullptr;
    SimDisk* follower_ = nullptr;
    DiskStats stats_;
    Observer observer_;
};

}  // namespace predsnap::sim
