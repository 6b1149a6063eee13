// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reading: finds where each sector is, reads whole units, verifies every checksum. What does not match
// is read once more, then reported as corruption and answered with EIO, never with data.
#pragma once

#include "core.h"
#include "delta.h"
#include "disk_state.h"
#include "index_cache.h"
#include "stream.h"

namespace predsnap {

class FineWrites;

class Reader {
  public:
    Reader(Core& core, const DiskState& disk, IndexCache& indexes, StreamStore& streams, FineWrites* fine = nullptr)
        : core_(core), disk_(disk), indexes_(indexes), streams_(streams), fine_(fine) {}

    // The device holes show. Null: they read as zeros. No read may be running.
    void set_backing(Device* backing) { backing_ = backing; }
    bool has_backing() const { return backing_ != nullptr; }
    // What holes show in that range. Needs no pin.
    Result<void> read_hole(Sector from, Sector to, std::span<const iovec> buffers) {
        return read_backing(from, to, buffers, 0);
    }

    // Reads sectors of a state (null: the current one) into the buffers, from byte `skip` of them on.
    Result<void> read(const FrozenState* view, Sector from, uint64_t sectors,
                      std::span<const iovec> buffers, size_t skip);
    // Reads data of extents that were found in one state, and follow each other without a gap. Their places must not be
    // given away meanwhile.
    Result<void> read_found(std::span<const Extent> extents, std::span<const iovec> buffers);
    // Reads and verifies the data of one extent. Its place must not be given away meanwhile.
    Result<void> read_extent(const Extent& extent, uint8_t* to) {
        const iovec whole{to, extent.count * kSectorSize};
        return read_extents({&extent, 1}, {&whole, 1}, 0);
    }
    // The same of several, side by side: their data, one after the other.
    Result<void> read_packed(std::span<const Extent> extents, uint8_t* to);
    // Reads a delta and all it is based on, whatever is staged.
    Result<void> verify_delta(const Extent& extent);
    // What a delta needs; if some of it is damaged, down to there. Errors: what the device returned.
    Result<void> learn_chain(const Extent& extent, DeltaChain* chain);
    // Verifies the units of an extent, which lie in `data` from byte `skip` on. Its place must not be given away
    // meanwhile.
    Result<void> verify(const Extent& extent, std::span<const iovec> data, size_t skip);

  private:
    // Extents that follow each other both on the guest disk and in the image.
    struct Piece {
        std::vector<Extent> extents;
        size_t skip;  // where its first sector goes in the buffers
    };
    Result<void> read_extents(std::span<const Extent> extents, std::span<const iovec> buffers, size_t skip);
    Result<void> read_delta(const Extent& extent, std::span<const iovec> buffers, size_t skip);
    Result<void> read_block(const Extent& extent, uint8_t* block);
    // A delta and those it is based on, each verified, from the newest down; and what the last is based on.
    struct DeltaBytes {
        AlignedBuffer blocks;
        std::span<const uint8_t> delta;
        bool damaged = false;
    };
    Result<Extent> read_chain(const Extent& extent, std::vector<DeltaBytes>* chain);
    Result<format::DeltaHeader> load_delta(const Extent& extent, DeltaBytes* to);
    Result<void> read_streams(std::span<const Extent> extents, std::span<const iovec> buffers, size_t skip);
    Result<void> verify_unit(const Extent& extent, Place place, uint64_t sectors, uint32_t sum,
                             std::span<const iovec> data, size_t skip);
    Result<void> read_backing(Sector from, Sector to, std::span<const iovec> buffers, size_t skip);

    Core& core_;
    const DiskState& disk_;
    IndexCache& indexes_;
    StreamStore& streams_;
    FineWrites* fine_;  // has copies of some; may be null
    Device* backing_ = nullptr;
};

// The part [skip, skip + length) of scattered buffers, as scattered buffers.
std::vector<iovec> slice(std::span<const iovec> buffers, size_t skip, size_t length);

}  // namespace predsnap
