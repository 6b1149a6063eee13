// SPDX-License-Identifier: GPL-2.0-or-later
#include "player.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace predsnap::replay {
namespace {

constexpr int64_t kLateUs = 1000;

int64_t us_between(std::chrono::steady_clock::time_point a,
                   std::chrono::steady_clock::time_point b) {
    return std::chrono::duration_cast<std::chrono::microseconds>(b - a).count();
}

bool overlap(const Request& a, const Request& b) {
    return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

std::string describe(const Request& request) {
    return std::string(request.write ? "write" : "read") + " of " + std::to_string(request.length) +
           " bytes at offset " + std::to_string(request.offset) + ", " +
           std::to_string(request.time_us) + " us into the trace";
}

}  // namespace

Player::Player(Source& source, DiskModel& model, NbdDisk& disk, const PlayerOptions& options)
    : source_(source),
      model_(model),
      disk_(disk),
      options_(options),
      next_flush_us_(options.flush_every_us) {}

Result<void> Player::run(int64_t until_us) {
    paced_at_ = Clock::now();
    while (source_.peek() && source_.peek()->time_us < until_us) {
        const Request request = *source_.peek();
        TRY(flush_when_due(request.time_us));
        TRY(wait_until(request.time_us));
        TRY(wait_for_room(request));
        TRY(start(request));
        TRY(source_.advance());
    }
    if (source_.peek()) {
        TRY(wait_until(until_us));
    }
    paced_us_ = until_us;
    TRY(drain());
    return flush();
}

int64_t Player::left_until_us(int64_t time_us) const {
    const auto due =
        static_cast<int64_t>(static_cast<double>(time_us - paced_us_) / options_.speed);
    return due - us_between(paced_at_, Clock::now());
}

Result<void> Player::wait_until(int64_t time_us) {
    if (options_.speed == 0) {
        return {};
    }
    int64_t left_us = left_until_us(time_us);
    measures_.late += left_us < -kLateUs ? 1 : 0;
    while (left_us > 0) {
        TRY(step(static_cast<int>(std::min<int64_t>(left_us / 1000, 1000))));
        left_us = left_until_us(time_us);
    }
    return {};
}

bool Player::blocked(const Request& request) const {
    return std::any_of(in_flight_.begin(), in_flight_.end(), [&](const InFlight& other) {
        return (request.write || other.request.write) && overlap(request, other.request);
    });
}

Result<void> Player::wait_for_room(const Request& request) {
    while (in_flight_.size() >= options_.depth || blocked(request)) {
        TRY(step(-1));
    }
    return {};
}

Result<void> Player::start(const Request& request) {
    const Entry entry = in_flight_.emplace(in_flight_.end());
    entry->request = request;
    entry->data.resize(request.length);
    if (request.write) {
        model_.write(request.offset, entry->data);
    }
    entry->begin = Clock::now();
    const auto done = [this, entry](int error) { finish(entry, error); };
    return request.write ? disk_.start_write(request.offset, entry->data, done)
                         : disk_.start_read(request.offset, entry->data, done);
}

void Player::finish(Entry entry, int error) {
    const Request& request = entry->request;
    const int64_t took_us = us_between(entry->begin, Clock::now());
    (request.write ? measures_.writes : measures_.reads).add(took_us, request.length);
    if (error != 0 && !failure_) {
        failure_ = Error{error, describe(request) + " failed: " + std::strerror(error)};
    }
    if (error == 0 && !request.write && !failure_) {
        if (const auto wrong = model_.mismatch(request.offset, entry->data)) {
            failure_ = Error{EILSEQ, describe(request) + ": " + *wrong};
        }
    }
    in_flight_.erase(entry);
}

Result<void> Player::step(int timeout_ms) {
    TRY(disk_.poll(timeout_ms));
    return failure_ ? Result<void>(*failure_) : Result<void>();
}

Result<void> Player::drain() {
    while (!in_flight_.empty()) {
        TRY(step(-1));
    }
    return {};
}

// A guest's file system commits now and then, whatever it writes. In between nobody waits for it.
Result<void> Player::flush_when_due(int64_t time_us) {
    if (options_.flush_every_us == 0 || time_us < next_flush_us_) {
        return {};
    }
    next_flush_us_ = (time_us / options_.flush_every_us + 1) * options_.flush_every_us;
    TRY(drain());
    return flush();
}

Result<void> Player::flush() {
    bool done = false;
    int failed = 0;
    const auto begin = Clock::now();
    TRY(disk_.start_flush([&](int error) {
        failed = error;
        done = true;
    }));
    while (!done) {
        TRY(step(-1));
    }
    if (failed != 0) {
        return Error{failed, std::string("a flush failed: ") + std::strerror(failed)};
    }
    measures_.flushes.add(us_between(begin, Clock::now()), 0);
    return {};
}

}  // namespace predsnap::replay
