// SPDX-License-Identifier: GPL-2.0-or-later
//
// Makes an image with a history of any length at once: the engine over a file, with a clock that is told
// what time it is. make-history IMAGE SIZE < SCRIPT. A line of the script is one of
//   T US              the clock, in microseconds since the epoch, which it may only go on from
//   W OFFSET LENGTH N a write of bytes that follow from N
//   Z OFFSET LENGTH   a write of zeros
//   D OFFSET LENGTH   a discard
//   F                 a flush
//   S NAME            a snapshot
//   R SEQUENCE        a rollback
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "block/engine/engine.h"
#include "tests/engine/fiber_host.h"

namespace predsnap::test {
namespace {

// A file that is made durable by nobody: a crash is not what this is about.
class PlainFile final : public Device {
  public:
    explicit PlainFile(const char* path) : fd_(::open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {}
    ~PlainFile() override { ::close(fd_); }
    bool is_open() const { return fd_ >= 0; }

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override {
        for (const iovec& buffer : buffers) {
            TRY(whole(::pread(fd_, buffer.iov_base, buffer.iov_len, static_cast<off_t>(offset)), buffer.iov_len));
            offset += buffer.iov_len;
        }
        return {};
    }
    Result<void> pwritev(uint64_t offset, std::span<const iovec> buffers) override {
        for (const iovec& buffer : buffers) {
            TRY(whole(::pwrite(fd_, buffer.iov_base, buffer.iov_len, static_cast<off_t>(offset)), buffer.iov_len));
            offset += buffer.iov_len;
        }
        return {};
    }
    Result<void> write_zeroes(uint64_t offset, uint64_t length) override {
        const std::vector<uint8_t> zeros(length);
        return pwrite(offset, zeros.data(), zeros.size());
    }
    Result<void> discard(uint64_t, uint64_t) override { return {}; }
    Result<void> flush() override { return {}; }
    Result<uint64_t> length() override {
        struct stat status {};
        TRY(whole(::fstat(fd_, &status), 0));
        return static_cast<uint64_t>(status.st_size);
    }
    Result<void> truncate(uint64_t length) override { return whole(::ftruncate(fd_, static_cast<off_t>(length)), 0); }

  private:
    static Result<void> whole(ssize_t got, size_t wanted) {
        if (got < 0 || static_cast<size_t>(got) != wanted) {
            return Error{got < 0 ? errno : EIO, "the image's file"};
        }
        return {};
    }
    const int fd_;
};

// No two blocks of 8 bytes alike, whatever the two numbers.
std::vector<uint8_t> content(uint64_t offset, uint64_t length, uint64_t number) {
    std::vector<uint8_t> bytes(length);
    for (uint64_t at = 0; at < length; at += 8) {
        const uint64_t word = (offset + at) * 0x9e3779b97f4a7c15ull ^ (number + 1) * 0xc2b2ae3d27d4eb4full;
        std::memcpy(bytes.data() + at, &word, 8);
    }
    return bytes;
}

Result<void> carry_out(const std::string& line, Engine& engine, FiberHost& host) {
    uint64_t a = 0, b = 0, c = 0;
    char name[256] = "";
    const int numbers = std::sscanf(line.c_str() + 1, "%" SCNu64 " %" SCNu64 " %" SCNu64, &a, &b, &c);
    switch (line[0]) {
        case 'T':
            host.pass(static_cast<int64_t>(a) - host.time.value);
            return {};
        case 'W': {
            const std::vector<uint8_t> bytes = content(a, b, c);
            const iovec vector{const_cast<uint8_t*>(bytes.data()), bytes.size()};
            return engine.write(a, {&vector, 1});
        }
        case 'Z':
            return engine.write_zeroes(a, b);
        case 'D':
            return engine.discard(a, b);
        case 'F':
            return engine.flush();
        case 'S': {
            SnapshotInfo snapshot;
            snapshot.name = std::sscanf(line.c_str() + 1, "%255s", name) == 1 ? name : "";
            return engine.snapshot_create(snapshot).discard();
        }
        case 'R':
            return engine.rollback(Moment{.snapshot = {}, .time = {}, .sequence = Sequence(a)}).discard();
        default:
            return Error{EINVAL, "line '" + line + "', " + std::to_string(numbers) + " numbers"};
    }
}

Result<void> make(const char* path, uint64_t size) {
    FiberHost host;
    PlainFile file(path);
    if (!file.is_open()) {
        return Error{errno, std::string(path) + ": " + std::strerror(errno)};
    }
    char buffer[512];
    if (std::fgets(buffer, sizeof(buffer), stdin) == nullptr || buffer[0] != 'T') {
        return Error{EINVAL, "the first line says what time it is"};
    }
    host.time = Time(std::strtoll(buffer + 1, nullptr, 10));
    CreateOptions create;
    create.size = size;
    TRY(Engine::create(host, file, create));
    TRY_ASSIGN(const std::unique_ptr<Engine> engine, Engine::open(host, file, OpenOptions()));
    while (std::fgets(buffer, sizeof(buffer), stdin) != nullptr) {
        TRY(carry_out(buffer, *engine, host));
        host.yield();
    }
    const Result<void> closed = engine->close();
    host.run_ready();
    return closed;
}

}  // namespace
}  // namespace predsnap::test

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: make-history IMAGE BYTES < SCRIPT\n");
        return 2;
    }
    const auto done = predsnap::test::make(argv[1], std::strtoull(argv[2], nullptr, 10));
    if (!done.ok()) {
        std::fprintf(stderr, "make-history: %s\n", done.error().message.c_str());
    }
    return done.ok() ? 0 : 1;
}
