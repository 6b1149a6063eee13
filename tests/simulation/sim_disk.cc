// SPDX-License-Identifier: GPL-2.0-or-later
#include "sim_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "block/engine/types.h"

namespace predsnap::sim {
namespace {

uint64_t total(std::span<const iovec> buffers) {
    uint64_t sum = 0;
    for (const iovec& part : buffers) {
        sum += part.iov_len;
    }
    return sum;
}

void gather(const std::vector<iovec>& from, std::vector<uint8_t>* to) {
    for (const iovec& part : from) {
        const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
        to->insert(to->end(), bytes, bytes + part.iov_len);
    }
}

void scatter(const uint8_t* from, const std::vector<iovec>& to) {
    for (const iovec& part : to) {
        memcpy(part.iov_base, from, part.iov_len);
        from += part.iov_len;
    }
}

bool aligned(uint64_t offset, uint64_t length) {
    return offset % kSectorSize == 0 && length % kSectorSize == 0;
}

}  // namespace

SimDisk::SimDisk(Scheduler& scheduler, uint64_t seed, const DiskOptions& options)
    : scheduler_(scheduler), random_(seed, 3), options_(options) {
    constexpr size_t kUsualSize = 16 << 20;  // growing does not move them
    current_.reserve(kUsualSize);
    durable_.reserve(kUsualSize);
}

Result<void> SimDisk::preadv(uint64_t offset, std::span<const iovec> buffers) {
    ++stats_.reads;
    Request request{.kind = Kind::read, .offset = offset, .length = total(buffers)};
    request.buffers.assign(buffers.begin(), buffers.end());
    return perform(request);
}

Result<void> SimDisk::pwritev(uint64_t offset, std::span<const iovec> buffers) {
    ++stats_.writes;
    Request request{.kind = Kind::write, .offset = offset, .length = total(buffers)};
    request.buffers.assign(buffers.begin(), buffers.end());
    stats_.write_bytes += request.length;
    return perform(request);
}

Result<void> SimDisk::write_zeroes(uint64_t offset, uint64_t length) {
    ++stats_.zeroes;
    Request request{.kind = Kind::write_zeroes, .offset = offset, .length = length};
    return perform(request);
}

Result<void> SimDisk::discard(uint64_t offset, uint64_t length) {
    ++stats_.discards;
    Request request{.kind = Kind::discard, .offset = offset, .length = length};
    return perform(request);
}

Result<void> SimDisk::flush() {
    ++stats_.flushes;
    Request request{.kind = Kind::flush};
    return perform(request);
}

Result<void> SimDisk::truncate(uint64_t length) {
    Request request{.kind = Kind::truncate, .offset = length};
    return perform(request);
}

Result<uint64_t> SimDisk::length() {
    if (dead_) {
        return Error{EIO, "the disk is dead"};
    }
    return current_.size();
}

uint64_t SimDisk::latency() {
    const uint64_t most = options_.latency_us_max;
    return random_.skewed(random_.chance(options_.slow_probability) ? most * 500 : most);
}

int SimDisk::draw_error(Kind kind) {
    const double p = kind == Kind::read    ? faults_.read_error
                     : kind == Kind::flush ? faults_.flush_error
                                           : faults_.write_error;
    return p > 0 && random_.chance(p) ? EIO : 0;
}

// The engine must ask for whole sectors, and know the length; what it asks beyond that fails.
Result<void> SimDisk::perform(Request& request) {
    SimDisk& counting = leader_ != nullptr ? *leader_ : *this;
    if (counting.requests_to_death_ != UINT64_MAX && counting.requests_to_death_-- == 0) {
        counting.die();
    }
    if (dead_) {
        return Error{EIO, "the disk is dead"};
    }
    if (!aligned(request.offset, request.length)) {
        scheduler_.fail("the engine asked the disk for " + std::to_string(request.length) +
                        " bytes at " + std::to_string(request.offset) + ": not whole sectors");
    }
    if (request.kind == Kind::read && request.offset + request.length > current_.size()) {
        return Error{EIO, "read past the end of the disk"};
    }
    request.error = draw_error(request.kind);
    TRY(start_changing(request));
    const uint64_t id = next_request_++;
    scheduler_.trace(20 + static_cast<uint64_t>(request.kind), request.offset, request.length);
    if (observer_) {
        constexpr const char* names[] = {"read",    "write", "write_zeroes",
                                         "discard", "flush", "truncate"};
        observer_(names[static_cast<size_t>(request.kind)], request.offset, request.length);
    }
    in_flight_[id] = &request;
    request.task = scheduler_.self();
    scheduler_.after(latency(), [this, id] { complete(id); });
    scheduler_.block("the disk");
    stats_.errors_injected +=
        request.error != 0;  // from now on the engine knows: see World::excused
    return std::move(request.result);
}

// Space is found, and usually the buffers are read, when a request begins.
Result<void> SimDisk::start_changing(Request& request) {
    if (request.kind == Kind::flush) {
        request.flush_mark = next_cached_;
        request.flush_length = current_.size();
        request.flush_order = next_request_;
    }
    if (request.kind != Kind::write && request.kind != Kind::write_zeroes) {
        return {};
    }
    if (!allocate(request.offset, request.length)) {
        ++stats_.no_space;
        return Error{ENOSPC, "the simulated disk is full"};
    }
    if (!options_.late_capture || random_.chance(0.5)) {
        capture(request);
    }
    return {};
}

bool SimDisk::allocate(uint64_t offset, uint64_t length) {
    const uint64_t first = offset / kBlockSize;
    const uint64_t end = align_up(offset + length, kBlockSize) / kBlockSize;
    if (allocated_.size() < end) {
        allocated_.resize(end);
    }
    const auto missing =
        static_cast<uint64_t>(std::count(allocated_.begin() + static_cast<int64_t>(first),
                                         allocated_.begin() + static_cast<int64_t>(end), false));
    if (missing > 0 && (allocated_count_ + missing) * kBlockSize > capacity_) {
        return false;
    }
    std::fill(allocated_.begin() + static_cast<int64_t>(first),
              allocated_.begin() + static_cast<int64_t>(end), true);
    allocated_count_ += missing;
    return true;
}

void SimDisk::free_blocks(uint64_t offset, uint64_t length) {
    const uint64_t end = std::min<uint64_t>((offset + length) / kBlockSize, allocated_.size());
    for (uint64_t block = align_up(offset, kBlockSize) / kBlockSize; block < end; ++block) {
        allocated_count_ -= allocated_[block];
        allocated_[block] = false;
    }
}

uint64_t SimDisk::allocated_bytes() const {
    return allocated_count_ * kBlockSize;
}

void SimDisk::capture(Request& request) {
    if (request.captured) {
        return;
    }
    request.captured = true;
    if (request.kind == Kind::write) {
        gather(request.buffers, &request.data);
    } else {
        request.data.assign(request.length, 0);
    }
}

void SimDisk::complete(uint64_t id) {
    const auto found = in_flight_.find(id);
    if (found == in_flight_.end()) {
        return;  // the disk has died since
    }
    Request& request = *found->second;
    in_flight_.erase(found);
    scheduler_.trace(30, id, static_cast<uint64_t>(request.error));
    if (request.error != 0) {
        apply_partly(request);
        request.result = Error{request.error, "injected"};
    } else {
        finish(request);
    }
    scheduler_.unblock(request.task);
}

void SimDisk::finish(Request& request) {
    switch (request.kind) {
        case Kind::read:
            if (request.offset + request.length > current_.size()) {
                request.result =
                    Error{EIO, "read past the end of the disk"};  // truncated meanwhile
                return;
            }
            scatter(current_.data() + request.offset, request.buffers);
            return;
        case Kind::write:
        case Kind::write_zeroes:
            capture(request);
            apply(request.offset, std::move(request.data));
            return;
        case Kind::discard:
            free_blocks(request.offset, request.length);
            apply_partly(request);
            return;
        case Kind::flush:
            apply_flush(request);
            return;
        case Kind::truncate:
            apply_truncate(request.offset);
            return;
    }
}

// A discard, and a write that failed, leave each sector as it was or new; a discard may leave
// garbage.
void SimDisk::apply_partly(Request& request) {
    if (request.kind == Kind::discard) {
        if (request.offset >= current_.size()) {
            return;
        }
        request.data =
            fill(request.offset, std::min(request.length, current_.size() - request.offset));
    } else if (request.kind == Kind::write || request.kind == Kind::write_zeroes) {
        capture(request);
    } else {
        return;
    }
    for (uint64_t at = 0; at < request.data.size(); at += kSectorSize) {
        if (random_.chance(0.5)) {
            const auto from = request.data.begin() + static_cast<int64_t>(at);
            apply(request.offset + at, std::vector<uint8_t>(from, from + kSectorSize));
        }
    }
}

void SimDisk::apply(uint64_t offset, std::vector<uint8_t> data) {
    grow(offset + data.size());
    std::copy(data.begin(), data.end(), current_.begin() + static_cast<int64_t>(offset));
    cached_.push_back({++next_cached_, offset, std::move(data)});
}

void SimDisk::grow(uint64_t length) {
    const uint64_t old = current_.size();
    if (length <= old) {
        return;
    }
    const std::vector<uint8_t> space = fill(old, length - old);
    current_.insert(current_.end(), space.begin(), space.end());
    if (durable_.size() > old) {
        regrown_.emplace_back(old, length);
    }
    if (durable_.size() < length) {
        durable_.insert(durable_.end(), current_.begin() + static_cast<int64_t>(durable_.size()),
                        current_.end());
    }
}

std::vector<uint8_t> SimDisk::fill(uint64_t offset, uint64_t length) {
    std::vector<uint8_t> bytes(length);
    if (options_.garbage_in_new_space) {
        for (uint64_t at = 0; at + 8 <= length; at += 8) {
            const uint64_t word = mix(offset + at);
            memcpy(bytes.data() + at, &word, sizeof(word));
        }
    }
    return bytes;
}

void SimDisk::apply_flush(const Request& request) {
    while (!cached_.empty() && cached_.front().id <= request.flush_mark) {
        const Cached& change = cached_.front();
        std::copy(change.data.begin(), change.data.end(),
                  durable_.begin() + static_cast<int64_t>(change.offset));
        cached_.pop_front();
    }
    if (request.flush_order >=
        durable_order_) {  // flushes may complete in another order than they began
        durable_order_ = request.flush_order;
        durable_length_ = request.flush_length;
    }
}

void SimDisk::apply_truncate(uint64_t length) {
    const uint64_t old = current_.size();
    if (length >= old) {
        grow(length);
        return;
    }
    apply(length, fill(length, old - length));  // so that what was cut off does not come back later
    current_.resize(length);
    free_blocks(length, old - length);
}

}  // namespace predsnap::sim
