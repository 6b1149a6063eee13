// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reads through the staging cache: blocks that are read again and again, or said to be, are kept there, and read from
// there as long as the state that is read has just that content: the disk as it is, a view, or the disk after a rollback.
//
// What goes into the cache is read into its own memory and verified there: a guest may change its buffers meanwhile.
#pragma once

#include <array>
#include <optional>

#include "core.h"
#include "disk_state.h"
#include "fine.h"
#include "prefetch.h"
#include "reader.h"

namespace predsnap {

// Counts how often blocks are used, of as many as there are places; what is used more rarely makes room.
class UseCounts {
  public:
    void set_capacity(uint64_t blocks);
    // How often it was used before.
    unsigned use(uint64_t block);

  private:
    struct Place {
        uint16_t tag = 0;
        uint16_t count = 0;
    };
    std::vector<Place> places_;  // empty until needed
    uint64_t capacity_ = 0;
};

class StagedReads {
  public:
    StagedReads(Core& core, const DiskState& disk, FineWrites& fine, Forecast& forecast, Reader& reader,
                Prefetcher& prefetcher)
        : core_(core), disk_(disk), fine_(fine), forecast_(forecast), reader_(reader), prefetcher_(prefetcher) {}

    // Requires Core::mutex. Whether a read is to be made by read(), and how often its first block was read before. Most
    // are not, and this must take next to no time.
    std::optional<unsigned> wants(Sector from, uint64_t sectors);
    // Reads sectors of a state (null: the current one). `uses` is what wants() said.
    Result<void> read(const FrozenState* view, Sector from, uint64_t sectors, std::span<const iovec> buffers,
                      unsigned uses);
    // Requires Core::mutex.
    void configure(const FineOptions& options);

  private:
    struct Block {
        Sector start;
        Staging::Source source;
        Staging::Slot slot;
    };
    struct Request;
    bool look_up(const FrozenState* view, Request& request) const;
    bool find_all(Request& request);
    bool take_slots(Request& request);
    Result<void> read_long(const FrozenState* view, Sector from, uint64_t sectors, std::span<const iovec> buffers);
    Result<void> read_short(const FrozenState* view, Sector from, uint64_t sectors, std::span<const iovec> buffers,
                            unsigned uses);
    bool is_fetched(Sector from, uint64_t sectors) const;
    void unpin(const Request& request);
    Result<void> fill(Request& request, std::span<const iovec> buffers);
    void finish(Request& request, bool read);
    void copy_out(const Request& request, std::span<const iovec> buffers);
    bool in_order(Sector from, uint64_t sectors);

    Core& core_;
    const DiskState& disk_;
    FineWrites& fine_;
    Forecast& forecast_;
    Reader& reader_;
    Prefetcher& prefetcher_;
    bool enabled_ = false;
    UseCounts counts_;
    std::array<Sector, 4> stream_ends_;  // where the reads ended that others may go on from
    size_t next_stream_ = 0;
};

}  // namespace predsnap
