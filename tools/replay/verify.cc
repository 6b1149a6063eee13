// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <array>
#include <cstring>

#include "player.h"

namespace predsnap::replay {
namespace {

constexpr size_t kDepth = 4;
constexpr uint64_t kReadMax = 1 << 20;
static_assert(kReadMax % DiskModel::kChunk == 0);

// The chunks to read: those that were ever written, and those the export says to hold something.
std::vector<bool> chunks_to_read(const DiskModel& model,
                                 const std::vector<NbdDisk::Range>& ranges) {
    std::vector<bool> chunks(model.chunks());
    for (uint64_t i = 0; i < model.chunks(); ++i) {
        chunks[i] = model.written(i);
    }
    for (const NbdDisk::Range& range : ranges) {
        const uint64_t end = std::min(range.offset + range.length, model.disk_size());
        for (uint64_t i = range.offset / DiskModel::kChunk; i * DiskModel::kChunk < end; ++i) {
            chunks[i] = true;
        }
    }
    return chunks;
}

class Verifier {
  public:
    Verifier(NbdDisk& disk, const DiskModel& model, std::vector<bool> chunks)
        : disk_(disk), model_(model), chunks_(std::move(chunks)) {}

    Result<uint64_t> run() {
        while (skip_to_next() || in_flight_ > 0) {
            for (Slot& slot : slots_) {
                if (!slot.busy && skip_to_next()) {
                    TRY(start(slot));
                }
            }
            if (in_flight_ > 0) {
                TRY(disk_.poll(-1));
            }
            if (wrong_) {
                return *wrong_;
            }
        }
        return uint64_t{read_bytes_};
    }

  private:
    struct Slot {
        std::vector<uint8_t> data;
        bool busy = false;
    };

    bool skip_to_next() {
        while (next_ < chunks_.size() && !chunks_[next_]) {
            ++next_;
        }
        return next_ < chunks_.size();
    }

    Result<void> start(Slot& slot) {
        const uint64_t first = next_, most = kReadMax / DiskModel::kChunk;
        while (next_ < chunks_.size() && chunks_[next_] && next_ - first < most) {
            ++next_;
        }
        const uint64_t offset = first * DiskModel::kChunk;
        slot.data.resize(std::min(next_ * DiskModel::kChunk, model_.disk_size()) - offset);
        slot.busy = true;
        ++in_flight_;
        return disk_.start_read(offset, slot.data,
                                [this, &slot, offset](int error) { finish(slot, offset, error); });
    }

    void finish(Slot& slot, uint64_t offset, int error) {
        slot.busy = false;
        --in_flight_;
        read_bytes_ += slot.data.size();
        if (error != 0) {
            wrong_ = Error{error, "verifying: read of " + std::to_string(slot.data.size()) +
                                      " bytes at offset " + std::to_string(offset) +
                                      " failed: " + std::strerror(error)};
        } else if (const auto what = model_.mismatch(offset, slot.data)) {
            wrong_ = Error{EILSEQ, "verifying: " + *what};
        }
    }

    NbdDisk& disk_;
    const DiskModel& model_;
    const std::vector<bool> chunks_;
    uint64_t next_ = 0;
    std::array<Slot, kDepth> slots_;
    size_t in_flight_ = 0;
    uint64_t read_bytes_ = 0;
    std::optional<Error> wrong_;
};

}  // namespace

Result<uint64_t> verify(NbdDisk& disk, const DiskModel& model) {
    if (disk.size() < model.disk_size()) {
        return Error{EINVAL, "the disk has " + std::to_string(disk.size()) +
                                 " bytes; the trace needs " + std::to_string(model.disk_size())};
    }
    TRY_ASSIGN(const std::vector<NbdDisk::Range> ranges, disk.not_zero());
    return Verifier(disk, model, chunks_to_read(model, ranges)).run();
}

}  // namespace predsnap::replay
