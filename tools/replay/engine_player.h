// SPDX-License-Identifier: GPL-2.0-or-later
//
// Replays a trace on the engine alone, in the trace's own time: the engine's clock follows the
// trace, so that hours of history by time take seconds. Requests that came within kTogetherUs of
// each other are begun together, as a disk that takes that long would have them in flight together;
// whatever the engine does in the background is done before the next ones come.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "block/engine/buffer.h"
#include "block/engine/engine.h"
#include "counting_device.h"
#include "disk_model.h"
#include "measures.h"
#include "source.h"
#include "tools/bench/bench_host.h"

namespace predsnap::replay {

class EnginePlayer {
  public:
    static constexpr int64_t kTogetherUs = 200;
    static constexpr Time kBegin{1'700'000'000'000'000};  // when each trace begins

    EnginePlayer(bench::BenchHost& host, Engine& engine, Source& source, DiskModel& model,
                 int64_t flush_every_us, size_t depth);

    // Replays what the trace holds before that time, and flushes.
    Result<void> run(int64_t until_us);
    bool ended() const { return !source_.peek().has_value(); }
    const Measures& measures() const { return measures_; }
    // Of 4 KiB, that the requests touched.
    uint64_t read_blocks() const { return read_blocks_; }
    uint64_t written_blocks() const { return written_blocks_; }
    // While the guest's requests were carried out: what that device, which the engine is on, was asked for, and blocks
    // that were read from the staging cache. What is done in the background comes between requests.
    void count_reads(const CountingDevice& device) { device_ = &device; }
    struct ReadCount {
        uint64_t requests = 0, bytes = 0, staged_blocks = 0;
    };
    // How long the guest's reads would take if the image did 500 requests and 100 MB a second, one after the other, and
    // nothing but them: those of requests that were begun together wait for each other.
    const Latencies& slow_reads() const { return slow_reads_; }
    const ReadCount& reads() const { return reads_; }

  private:
    void set_time(int64_t time_us) { host_.set_clock(kBegin + time_us); }
    Result<void> flush_before(int64_t time_us);
    Result<std::vector<Request>> take_together(int64_t until_us);
    Result<void> carry_out(const std::vector<Request>& requests);
    Result<void> carry_out(const Request& request, AlignedBuffer& data);
    Result<void> flush();
    ReadCount read_count() const;

    bench::BenchHost& host_;
    Engine& engine_;
    Source& source_;
    DiskModel& model_;
    const int64_t flush_every_us_;
    const size_t depth_;
    int64_t next_flush_us_;
    Measures measures_;
    uint64_t read_blocks_ = 0, written_blocks_ = 0;
    const CountingDevice* device_ = nullptr;
    void note_slow_reads(const std::vector<Request>& requests, const ReadCount& taken);
    ReadCount reads_;
    Latencies slow_reads_;
    int64_t slow_free_us_ = 0;  // when the slow image has done all that it was asked for
};

// Reads of an engine or of a view of it.
using ReadDisk = std::function<Result<void>(uint64_t offset, std::span<const iovec> buffers)>;

// Reads the whole disk but for what was never written, and compares; gives the number of bytes
// read.
Result<uint64_t> verify(const ReadDisk& read, const DiskModel& model);

}  // namespace predsnap::replay
