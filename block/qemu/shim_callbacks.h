// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine's Device and Host over the callbacks of shim.h. C++, for shim.cc.
#pragma once

#include <sys/random.h>
#include <time.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "block/engine/device.h"
#include "block/engine/host.h"
#include "block/qemu/shim.h"

namespace predsnap {

// 0 or a negative errno value of a callback, as a Result.
inline Result<void> from_errno(int ret) {
    if (ret < 0) {
        return Error{-ret, {}};
    }
    return {};
}

class CallbackDevice final : public Device {
  public:
    explicit CallbackDevice(PdsDevice device) : ops_(device.ops), opaque_(device.opaque) {}

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override {
        return from_errno(ops_->preadv(opaque_, offset, buffers.data(), buffers.size()));
    }
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override {
        return from_errno(ops_->pwritev(opaque_, offset, buffers.data(), buffers.size()));
    }
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override {
        return from_errno(ops_->write_zeroes(opaque_, offset, length));
    }
    Result<void> discard(uint64_t offset, uint64_t length) override {
        return from_errno(ops_->discard(opaque_, offset, length));
    }
    Result<void> flush() override { return from_errno(ops_->flush(opaque_)); }
    Result<uint64_t> length() override {
        const int64_t length = ops_->length(opaque_);
        if (length < 0) {
            return Error{static_cast<int>(-length), {}};
        }
        return static_cast<uint64_t>(length);
    }
    Result<void> truncate(uint64_t length) override {
        return from_errno(ops_->truncate(opaque_, length));
    }

  private:
    const PdsDeviceOps* ops_;
    void* opaque_;
};

inline void run_body(void* arg) {
    const std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(arg));
    (*body)();
}

inline void run_work(void* arg) {
    (*static_cast<const std::function<void()>*>(arg))();
}

inline PdsEvent to_event(Event event) {
    switch (event) {
        case Event::corruption:
            return PDS_EVENT_CORRUPTION;
        case Event::log_error:
            return PDS_EVENT_LOG_ERROR;
        case Event::window_shrunk:
            return PDS_EVENT_WINDOW_SHRUNK;
        case Event::fast_full:
            return PDS_EVENT_FAST_FULL;
        case Event::capacity_full:
            return PDS_EVENT_CAPACITY_FULL;
        case Event::capacity_error:
            return PDS_EVENT_CAPACITY_ERROR;
        case Event::point:
            break;
    }
    return PDS_EVENT_POINT;
}

class CallbackHost final : public Host {
  public:
    explicit CallbackHost(PdsHost host) : ops_(host.ops), opaque_(host.opaque) {}

    Time now() override {
        timespec t{};
        clock_gettime(CLOCK_REALTIME, &t);
        return Time(int64_t{t.tv_sec} * 1'000'000 + t.tv_nsec / 1000);
    }
    int64_t uptime_us() override {
        timespec t{};
        clock_gettime(CLOCK_MONOTONIC, &t);
        return int64_t{t.tv_sec} * 1'000'000 + t.tv_nsec / 1000;
    }
    uint64_t random() override {
        uint64_t value = 0;
        // Eight bytes come whole or, on a kernel that has no entropy yet, block until they do.
        while (getrandom(&value, sizeof(value), 0) != sizeof(value)) {
        }
        return value;
    }
    Task* self() override { return static_cast<Task*>(ops_->self()); }
    void suspend() override { ops_->suspend(); }
    void wake(Task* task) override { ops_->wake(task); }
    void yield() override { ops_->yield(); }
    void spawn(std::function<void()> body) override {
        ops_->spawn(opaque_, run_body, new std::function<void()>(std::move(body)));
    }
    void run_on_executor(const std::function<void()>& work) override {
        ops_->run_on_executor(opaque_, run_work, const_cast<std::function<void()>*>(&work));
    }
    void report(Event event, uint64_t offset, uint64_t length, std::string_view message) override {
        ops_->report(opaque_, to_event(event), offset, length, std::string(message).c_str());
    }

  private:
    const PdsHostOps* ops_;
    void* opaque_;
};

}  // namespace predsnap
