// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine_player.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace predsnap::replay {
namespace {

bool conflict(const Request& a, const Request& b) {
    return (a.write || b.write) && a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

// The file is read and written past the page cache, which wants buffers that are aligned.
std::span<uint8_t> bytes_of(AlignedBuffer& buffer) {
    return {static_cast<uint8_t*>(buffer.data()), buffer.size()};
}

uint64_t blocks_of(const Request& request) {
    return (request.offset + request.length - 1) / kBlockSize - request.offset / kBlockSize + 1;
}

std::string where(const Request& request) {
    return std::string(request.write ? "write" : "read") + " at offset " +
           std::to_string(request.offset) + ", " + std::to_string(request.time_us) +
           " us into the trace: ";
}

}  // namespace

EnginePlayer::EnginePlayer(bench::BenchHost& host, Engine& engine, Source& source, DiskModel& model,
                           int64_t flush_every_us, size_t depth)
    : host_(host),
      engine_(engine),
      source_(source),
      model_(model),
      flush_every_us_(flush_every_us),
      depth_(depth),
      next_flush_us_(flush_every_us) {}

Result<void> EnginePlayer::run(int64_t until_us) {
    while (source_.peek() && source_.peek()->time_us < until_us) {
        TRY(flush_before(source_.peek()->time_us));
        TRY_ASSIGN(const std::vector<Request> requests, take_together(until_us));
        set_time(requests.front().time_us);
        TRY(carry_out(requests));
        host_.run_others();
    }
    TRY(flush_before(until_us));
    set_time(until_us);
    return flush();
}

// The guest's flushes come at their times, also where it does nothing else.
Result<void> EnginePlayer::flush_before(int64_t time_us) {
    while (flush_every_us_ != 0 && next_flush_us_ <= time_us) {
        set_time(next_flush_us_);
        next_flush_us_ += flush_every_us_;
        TRY(flush());
    }
    return {};
}

Result<std::vector<Request>> EnginePlayer::take_together(int64_t until_us) {
    std::vector<Request> requests;
    while (source_.peek() && requests.size() < depth_) {
        const Request& next = *source_.peek();
        const bool fits =
            requests.empty() ||
            (next.time_us < until_us && next.time_us - requests.front().time_us < kTogetherUs &&
             std::none_of(requests.begin(), requests.end(),
                          [&](const Request& r) { return conflict(r, next); }));
        if (!fits) {
            break;
        }
        requests.push_back(next);
        TRY(source_.advance());
    }
    return requests;
}

Result<void> EnginePlayer::carry_out(const std::vector<Request>& requests) {
    Result<void> result;
    size_t running = requests.size();
    Task* waiting = host_.self();
    const ReadCount before = read_count();
    for (const Request& request : requests) {
        auto data = std::make_shared<AlignedBuffer>(request.length);
        if (request.write) {
            model_.write(request.offset, bytes_of(*data));
        }
        host_.spawn([&, data, request] {
            const Result<void> done = carry_out(request, *data);
            if (!done.ok() && result.ok()) {
                result = done;
            }
            if (--running == 0) {
                host_.wake(waiting);
            }
        });
    }
    host_.suspend();
    const ReadCount after = read_count();
    reads_.requests += after.requests - before.requests;
    reads_.bytes += after.bytes - before.bytes;
    reads_.staged_blocks += after.staged_blocks - before.staged_blocks;
    note_slow_reads(requests, {after.requests - before.requests, after.bytes - before.bytes, 0});
    return result;
}

void EnginePlayer::note_slow_reads(const std::vector<Request>& requests, const ReadCount& taken) {
    constexpr int64_t kRequestUs = 2000, kBytesPerUs = 100;
    const int64_t now_us = requests.front().time_us;
    if (taken.requests > 0) {
        slow_free_us_ = std::max(slow_free_us_, now_us) + static_cast<int64_t>(taken.requests) * kRequestUs +
                        static_cast<int64_t>(taken.bytes) / kBytesPerUs;
    }
    for (const Request& request : requests) {
        if (!request.write) {
            slow_reads_.add(taken.requests > 0 ? slow_free_us_ - now_us : 0, request.length);
        }
    }
}

EnginePlayer::ReadCount EnginePlayer::read_count() const {
    if (device_ == nullptr) {
        return {};
    }
    const auto& [rewrites, reads, prefetched] = engine_.fine_info().staging.by_purpose;
    return {device_->read_requests(), device_->read_bytes(), reads.hits};
}

Result<void> EnginePlayer::carry_out(const Request& request, AlignedBuffer& data) {
    const iovec vector{data.data(), data.size()};
    const std::span<const iovec> buffers{&vector, 1};
    const Result<void> done = request.write ? engine_.write(request.offset, buffers)
                                            : engine_.read(request.offset, buffers);
    if (!done.ok()) {
        return Error{done.error().code, where(request) + done.error().message + " (" +
                                            std::strerror(done.error().code) + ")"};
    }
    (request.write ? measures_.writes : measures_.reads).count(request.length);
    (request.write ? written_blocks_ : read_blocks_) += blocks_of(request);
    if (!request.write) {
        if (const auto wrong = model_.mismatch(request.offset, bytes_of(data))) {
            return Error{EILSEQ, where(request) + *wrong};
        }
    }
    return {};
}

Result<void> EnginePlayer::flush() {
    TRY(engine_.flush());
    measures_.flushes.count(0);
    host_.run_others();
    return {};
}

Result<uint64_t> verify(const ReadDisk& read, const DiskModel& model) {
    uint64_t verified = 0;
    AlignedBuffer data(DiskModel::kChunk);
    for (uint64_t chunk = 0; chunk < model.chunks(); ++chunk) {
        if (!model.written(chunk)) {
            continue;
        }
        const uint64_t offset = chunk * DiskModel::kChunk;
        const uint64_t length = std::min(DiskModel::kChunk, model.disk_size() - offset);
        const iovec vector{data.data(), length};
        TRY(read(offset, {&vector, 1}));
        if (const auto wrong = model.mismatch(offset, bytes_of(data).first(length))) {
            return Error{EILSEQ, "verifying: " + *wrong};
        }
        verified += length;
    }
    return verified;
}

}  // namespace predsnap::replay
