// SPDX-License-Identifier: GPL-2.0-or-later
//
// How the simulated disk dies, what of its content survives that, and bits that flip.
#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "block/engine/types.h"
#include "sim_disk.h"

namespace predsnap::sim {

void SimDisk::die_after(uint64_t requests) {
    if (requests == 0) {
        die();
    } else {
        requests_to_death_ = requests;
    }
}

void SimDisk::die() {
    if (dead_) {
        return;
    }
    dead_ = true;
    requests_to_death_ = UINT64_MAX;
    scheduler_.trace(40, in_flight_.size());
    for (auto& [id, request] : in_flight_) {
        if (request->kind == Kind::write || request->kind == Kind::write_zeroes) {
            capture(*request);
        }
        frozen_.push_back(*request);
        request->result = Error{EIO, "the disk died"};
        scheduler_.unblock(request->task);
    }
    in_flight_.clear();
    if (follower_ != nullptr) {
        follower_->die();
    }
}

void SimDisk::restart(Death death) {
    assert(dead_);
    settle_in_flight(death);
    if (death == Death::power_loss) {
        lose_power();
    }
    dead_ = false;
    if (follower_ != nullptr) {
        follower_->restart(death);
    }
}

// Requests in flight when the process died may have been done, in part, or not at all.
void SimDisk::settle_in_flight(Death death) {
    while (!frozen_.empty()) {
        std::swap(frozen_[random_.below(frozen_.size())], frozen_.back());
        Request request = std::move(frozen_.back());
        frozen_.pop_back();
        const uint64_t choice = random_.below(3);
        const bool power =
            death == Death::power_loss;  // then lose_power() decides, sector by sector
        if (request.kind == Kind::flush || request.kind == Kind::read || (choice == 0 && !power)) {
            continue;
        }
        if (choice == 1 && !power) {
            apply_partly(request);
        } else {
            finish(request);
        }
    }
}

void SimDisk::lose_power() {
    const uint64_t length = surviving_length();
    const uint64_t mode =
        random_.below(5);  // one character for the whole loss: all, nothing, or mixed
    const double by_sector = static_cast<double>(random_.below(101)) / 100;
    for (const Cached& change : cached_) {
        const bool whole = random_.chance(0.5);
        const bool keep = mode == 0 || (mode != 1 && random_.chance(by_sector));
        for (uint64_t at = 0; at < change.data.size(); at += kSectorSize) {
            const bool kept = mode < 2 || whole ? keep : random_.chance(by_sector);
            if (!kept || change.offset + at >= length) {
                ++stats_.sectors_lost;
                continue;
            }
            ++stats_.sectors_kept;
            memcpy(durable_.data() + change.offset + at, change.data.data() + at, kSectorSize);
        }
    }
    // All of it would be the same: the rest does not differ.
    const uint64_t old = current_.size();
    current_.resize(length);
    copy_durable(old, length);
    for (const auto& [begin, end] : regrown_) {
        copy_durable(begin, end);
    }
    for (const Cached& change : cached_) {
        copy_durable(change.offset, change.offset + change.data.size());
    }
    regrown_.clear();
    cached_.clear();
    durable_length_ = length;
}

void SimDisk::copy_durable(uint64_t begin, uint64_t end) {
    end = std::min<uint64_t>(end, current_.size());
    if (begin < end) {
        memcpy(current_.data() + begin, durable_.data() + begin, end - begin);
    }
}

// The length is volatile too: any between the durable and the last one, in blocks of a file system.
uint64_t SimDisk::surviving_length() {
    const uint64_t low = std::min<uint64_t>(durable_length_, current_.size());
    const uint64_t high = std::max<uint64_t>(durable_length_, current_.size());
    switch (random_.below(3)) {
        case 0:
            return durable_length_;
        case 1:
            return current_.size();
        default:
            return std::max(low, align_down(random_.between(low, high), kBlockSize));
    }
}

void SimDisk::flip_bit(uint64_t offset, unsigned bit) {
    assert(offset < current_.size());
    const auto mask = static_cast<uint8_t>(1u << bit);
    ++stats_.bits_flipped;
    current_[offset] ^= mask;
    if (offset < durable_.size()) {
        durable_[offset] = current_[offset];
    }
    for (Cached& change : cached_) {
        if (offset >= change.offset && offset < change.offset + change.data.size()) {
            change.data[offset - change.offset] = current_[offset];
        }
    }
}

}  // namespace predsnap::sim
