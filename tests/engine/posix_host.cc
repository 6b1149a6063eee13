// SPDX-License-Identifier: GPL-2.0-or-later
#include "posix_host.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tests/simulation/random.h"

namespace predsnap::test {

struct PosixHost::Thread {
    std::mutex mutex;
    std::condition_variable woken;
    uint64_t wakes = 0;
};

namespace {
std::atomic<uint64_t> next_host_id{1};
}

PosixHost::PosixHost() : id_(next_host_id++) {}
PosixHost::~PosixHost() {
    join_spawned();
}

int64_t PosixHost::uptime_us() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

Time PosixHost::now() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return Time(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

uint64_t PosixHost::random() {
    std::lock_guard lock(mutex_);
    return sim::mix(++random_);
}

Task* PosixHost::self() {
    // A thread serves one host at a time, but may outlive it.
    static thread_local Thread* thread = nullptr;
    static thread_local uint64_t host = 0;
    if (host != id_) {
        std::lock_guard lock(mutex_);
        threads_.push_back(std::make_unique<Thread>());
        thread = threads_.back().get();
        host = id_;
    }
    return reinterpret_cast<Task*>(thread);
}

void PosixHost::suspend() {
    auto* thread = reinterpret_cast<Thread*>(self());
    std::unique_lock lock(thread->mutex);
    thread->woken.wait(lock, [&] { return thread->wakes > 0; });
    --thread->wakes;
}

void PosixHost::wake(Task* task) {
    auto* thread = reinterpret_cast<Thread*>(task);
    std::lock_guard lock(thread->mutex);
    ++thread->wakes;
    thread->woken.notify_one();
}

void PosixHost::yield() {
    std::this_thread::yield();
}

void PosixHost::spawn(std::function<void()> body) {
    {
        std::lock_guard lock(mutex_);
        ++running_;
    }
    std::thread([this, body = std::move(body)]() mutable {
        {
            const std::function<void()> run = std::move(body);
            run();
        }
        std::lock_guard lock(mutex_);
        --running_;
        ended_.notify_all();
    }).detach();
}

void PosixHost::join_spawned() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return running_ == 0; });
}

void PosixHost::report(Event event, uint64_t, uint64_t, std::string_view) {
    std::lock_guard lock(mutex_);
    corruptions_ += event == Event::corruption;
}

uint64_t PosixHost::corruptions() const {
    std::lock_guard lock(mutex_);
    return corruptions_;
}

namespace {

Result<void> from_errno(bool fine) {
    return fine ? Result<void>() : Error{errno, "file"};
}

// preadv and pwritev may do less than asked; an end of the file within a read is an error.
template <typename Call>
Result<void> transfer(Call call, uint64_t offset, std::span<const iovec> buffers) {
    constexpr size_t kMost = 1024;  // IOV_MAX
    std::vector<iovec> rest(buffers.begin(), buffers.end());
    for (size_t first = 0; first < rest.size();) {
        const ssize_t done =
            call(rest.data() + first, std::min(rest.size() - first, kMost), offset);
        if (done <= 0) {
            return Error{done < 0 ? errno : EIO, "file"};
        }
        offset += static_cast<uint64_t>(done);
        auto left = static_cast<size_t>(done);
        while (first < rest.size() && left >= rest[first].iov_len) {
            left -= rest[first++].iov_len;
        }
        if (left > 0) {
            rest[first].iov_base = static_cast<char*>(rest[first].iov_base) + left;
            rest[first].iov_len -= left;
        }
    }
    return {};
}

}  // namespace

FileDevice::FileDevice() {
    const char* folder = getenv("TMPDIR");
    std::string name =
        std::string(folder != nullptr ? folder : "/var/tmp") + "/predsnap-test-XXXXXX";
    fd_ = mkstemp(name.data());
    if (fd_ < 0) {
        perror(name.c_str());
        abort();
    }
    unlink(name.c_str());
}

FileDevice::~FileDevice() {
    close(fd_);
}

Result<void> FileDevice::preadv(uint64_t offset, std::span<const iovec> buffers) {
    return transfer(
        [&](const iovec* v, size_t n, uint64_t at) {
            return ::preadv(fd_, v, static_cast<int>(n), static_cast<off_t>(at));
        },
        offset, buffers);
}

Result<void> FileDevice::pwritev(uint64_t offset, std::span<const iovec> buffers) {
    return transfer(
        [&](const iovec* v, size_t n, uint64_t at) {
            return ::pwritev(fd_, v, static_cast<int>(n), static_cast<off_t>(at));
        },
        offset, buffers);
}

Result<void> FileDevice::write_zeroes(uint64_t offset, uint64_t length) {
    const std::vector<uint8_t> zeros(length);
    return pwrite(offset, zeros.data(), length);
}

Result<void> FileDevice::discard(uint64_t, uint64_t) {
    return {};
}
Result<void> FileDevice::flush() {
    return from_errno(fdatasync(fd_) == 0);
}

Result<uint64_t> FileDevice::length() {
    struct stat status;
    if (fstat(fd_, &status) != 0) {
        return Error{errno, "file"};
    }
    return static_cast<uint64_t>(status.st_size);
}

Result<void> FileDevice::truncate(uint64_t length) {
    return from_errno(ftruncate(fd_, static_cast<off_t>(length)) == 0);
}

}  // namespace predsnap::test
