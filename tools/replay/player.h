// SPDX-License-Identifier: GPL-2.0-or-later
//
// Replays a trace on an NBD export: keeps a number of requests in flight, in the order of the
// trace, none of them begun while one that overlaps it is under way (the order of such two would
// not be known). Everything read is compared with the model.
#pragma once

#include <chrono>
#include <list>
#include <optional>
#include <vector>

#include "disk_model.h"
#include "measures.h"
#include "nbd_disk.h"
#include "source.h"

namespace predsnap::replay {

struct PlayerOptions {
    size_t depth = 32;
    double speed = 0;  // 0: as fast as it goes; 1: in the trace's own time; 10: ten times faster
    int64_t flush_every_us = 0;  // of the trace's time; 0: no flushes but those that are asked for
};

class Player {
  public:
    Player(Source& source, DiskModel& model, NbdDisk& disk, const PlayerOptions& options);

    // Replays what the trace holds before that time, waits for it, and flushes.
    Result<void> run(int64_t until_us);
    bool ended() const { return !source_.peek().has_value(); }
    const Measures& measures() const { return measures_; }

  private:
    using Clock = std::chrono::steady_clock;
    struct InFlight {
        Request request;
        std::vector<uint8_t> data;
        Clock::time_point begin;
    };
    using Entry = std::list<InFlight>::iterator;

    int64_t left_until_us(int64_t time_us) const;
    Result<void> wait_until(int64_t time_us);
    Result<void> wait_for_room(const Request& request);
    Result<void> start(const Request& request);
    Result<void> flush_when_due(int64_t time_us);
    Result<void> flush();
    Result<void> drain();
    Result<void> step(int timeout_ms);
    bool blocked(const Request& request) const;
    void finish(Entry entry, int error);

    Source& source_;
    DiskModel& model_;
    NbdDisk& disk_;
    const PlayerOptions options_;
    Measures measures_;
    // When trace time paced_us_ was, in real time: set anew by each run(), which points stop.
    Clock::time_point paced_at_;
    int64_t paced_us_ = 0;
    int64_t next_flush_us_;
    std::list<InFlight> in_flight_;
    std::optional<Error> failure_;  // the first one, of an answer
};

// Compares everything that an export holds with a model; gives the number of bytes read for it.
// Ranges that were never written and that the export says to be zeros are taken as that.
Result<uint64_t> verify(NbdDisk& disk, const DiskModel& model);

}  // namespace predsnap::replay
