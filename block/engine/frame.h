// SPDX-License-Identifier: GPL-2.0-or-later
//
// Frames: pieces of a stream's data, each compressed alone, so that each can be read alone. A frame may be compressed
// with what its frames have in common (dictionary.h), or after a *reference*: data that is to be had whenever the frame is
// read, and is much like it, so that little more than what differs is stored. That is zstd's "patch from": the reference
// is what came before, as far as the compressor can tell.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dictionary.h"

struct ZSTD_CCtx_s;

namespace predsnap {

// Packs frames. One thread at a time.
class FramePacker {
  public:
    FramePacker();
    ~FramePacker();
    FramePacker(const FramePacker&) = delete;

    // Empty if that would not save a sixteenth. `dictionary` may be null; else its level counts.
    void pack(std::span<const uint8_t> frame, int level, const Dictionary* dictionary, std::vector<uint8_t>* packed);
    // After a reference. Empty if that would not save a sixteenth.
    void pack_after(std::span<const uint8_t> reference, std::span<const uint8_t> frame, int level,
                    std::vector<uint8_t>* packed);

  private:
    ZSTD_CCtx_s* context_;
    ZSTD_CCtx_s* after_;  // keeps its settings
};

// False unless the frame holds just so much. Any thread. `dictionary`: to read with, or null.
bool unpack_frame(std::span<const uint8_t> stored, const Dictionary* dictionary, std::span<uint8_t> frame);
// The same after a reference. False, too, if that is not the one it was packed after.
bool unpack_frame_after(std::span<const uint8_t> reference, std::span<const uint8_t> stored, std::span<uint8_t> frame);

}  // namespace predsnap
