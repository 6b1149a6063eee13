// SPDX-License-Identifier: GPL-2.0-or-later
#include "access_log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "block/engine/checksum.h"

namespace predsnap {
namespace {

using format::AccessBlock;
using format::AccessLogHeader;

constexpr size_t kWindow = sizeof(AccessBlock) + format::kAccessBlockBytesMax;

Error failed(const std::string& path, int code) { return Error{code, path + ": " + std::strerror(code)}; }

}  // namespace

Result<AccessLogReader> AccessLogReader::open(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return failed(path, errno);
    }
    AccessLogReader reader(path, fd);
    TRY(reader.read_header());
    return reader;
}

AccessLogReader::AccessLogReader(AccessLogReader&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      header_(other.header_),
      seed_(other.seed_),
      position_(other.position_),
      buffer_(std::move(other.buffer_)),
      facts_(other.facts_) {}

AccessLogReader& AccessLogReader::operator=(AccessLogReader&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(header_, other.header_);
    std::swap(seed_, other.seed_);
    std::swap(position_, other.position_);
    std::swap(buffer_, other.buffer_);
    std::swap(facts_, other.facts_);
    return *this;
}

AccessLogReader::~AccessLogReader() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

Result<void> AccessLogReader::read_header() {
    const ssize_t got = ::pread(fd_, &header_, sizeof(header_), 0);
    if (got < 0) {
        return failed(path_, errno);
    }
    if (static_cast<size_t>(got) < sizeof(header_) || !access_log_header_is_valid(header_)) {
        return Error{EINVAL, path_ + ": not an access log, or its header is damaged"};
    }
    seed_ = image_seed(header_.uuid);
    position_ = sizeof(header_);
    return {};
}

Result<void> AccessLogReader::fill() {
    size_t have = buffer_.size();
    buffer_.resize(kWindow);
    while (have < kWindow) {
        const ssize_t got =
            ::pread(fd_, buffer_.data() + have, kWindow - have, static_cast<off_t>(position_ + have));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            const int code = errno;
            buffer_.resize(have);
            return failed(path_, code);
        }
        if (got == 0) {
            break;
        }
        have += static_cast<size_t>(got);
    }
    buffer_.resize(have);
    return {};
}

size_t AccessLogReader::find_block() const {
    const std::span<const uint8_t> bytes(buffer_);
    auto at = buffer_.begin();
    while (true) {
        at = std::search(at, buffer_.end(), std::begin(format::kAccessBlockMagic), std::end(format::kAccessBlockMagic));
        if (at == buffer_.end()) {
            return buffer_.size();
        }
        const auto offset = static_cast<size_t>(at - buffer_.begin());
        if (access_block_is_valid(bytes.subspan(offset), seed_)) {
            return offset;
        }
        ++at;
    }
}

Result<bool> AccessLogReader::next(std::vector<AccessRecord>& records) {
    while (true) {
        TRY(fill());
        const size_t found = find_block();
        if (found == buffer_.size()) {
            if (buffer_.size() < kWindow) {
                return false;  // the end; what is there may become whole
            }
            // Nothing in so many bytes, but a block may begin in the last of them.
            const size_t step = buffer_.size() / 2;
            facts_.skipped += step;
            position_ += step;
            buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(step));
            continue;
        }
        AccessBlock block;
        std::memcpy(&block, buffer_.data() + found, sizeof(block));
        const bool good = unpack_access_block(std::span(buffer_).subspan(found), records);
        const size_t length = found + sizeof(block) + block.bytes;
        position_ += length;
        buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(length));
        facts_.skipped += good ? found : length;
        if (!good) {
            continue;  // who wrote it packed it badly
        }
        ++facts_.blocks;
        facts_.records += block.count;
        facts_.dropped += block.dropped;
        facts_.sequence = block.sequence != 0 ? block.sequence : facts_.sequence;
        facts_.session = block.session;
        return true;
    }
}

bool AccessLogReader::rotated() const {
    struct stat open_file{}, at_path{};
    if (::fstat(fd_, &open_file) != 0 || ::stat(path_.c_str(), &at_path) != 0) {
        return false;  // nothing new to read
    }
    return open_file.st_ino != at_path.st_ino || open_file.st_dev != at_path.st_dev ||
           static_cast<uint64_t>(open_file.st_size) < position_;
}

}  // namespace predsnap
