// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "block/engine/superblock.h"
#include "files.h"
#include "programs.h"
#include "tools/qmp/json.h"

namespace predsnap::hook {
namespace {

constexpr int kLockTimeoutS = 30;

// A file that is only looked at.
class ReadOnlyFile : public Device {
  public:
    explicit ReadOnlyFile(Fd fd) : fd_(std::move(fd)) {}

    Result<void> preadv(uint64_t offset, std::span<const iovec> buffers) override {
        size_t wanted = 0;
        for (const iovec& buffer : buffers) {
            wanted += buffer.iov_len;
        }
        const ssize_t n =
            ::preadv(fd_.get(), buffers.data(), static_cast<int>(buffers.size()), static_cast<off_t>(offset));
        if (n < 0) {
            return errno_error("cannot be read");
        }
        return static_cast<size_t>(n) == wanted ? Result<void>() : Error{EIO, "ends too early"};
    }
    Result<uint64_t> length() override {
        const off_t end = lseek(fd_.get(), 0, SEEK_END);
        return end >= 0 ? Result<uint64_t>(static_cast<uint64_t>(end)) : errno_error("has no length");
    }
    Result<void> pwritev(uint64_t, std::span<const iovec>) override { return Error{EROFS, ""}; }
    Result<void> write_zeroes(uint64_t, uint64_t) override { return Error{EROFS, ""}; }
    Result<void> discard(uint64_t, uint64_t) override { return Error{EROFS, ""}; }
    Result<void> flush() override { return Error{EROFS, ""}; }
    Result<void> truncate(uint64_t) override { return Error{EROFS, ""}; }

  private:
    Fd fd_;
};

std::string format_uuid(const uint8_t (&uuid)[16]) {
    std::string formatted;
    for (int i = 0; i < 16; ++i) {
        char byte[4];
        std::snprintf(byte, sizeof(byte), i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
        formatted += byte;
    }
    return formatted;
}

std::string real_path(const std::string& path) {
    char resolved[PATH_MAX];
    return realpath(path.c_str(), resolved) != nullptr ? resolved : path;
}

Result<void> create_image(const Config& config, const ProtectedDisk& disk, const Base& base, const Owner& owner) {
    TRY_ASSIGN(const std::string qemu_img, config.program("qemu-img"));
    const std::string fresh = disk.image + ".new";  // under the lock, so nobody else makes it
    std::vector<std::string> command = {qemu_img, "create", "-q", "-f", "predsnap"};
    std::optional<uint64_t> size = disk.size;
    if (!base.file.empty()) {
        // Unsafe (-u) only in that qemu-img does not open the disk below, which a running domain may have locked.
        command.insert(command.end(), {"-u", "-b", base.file, "-F", base.format});
        TRY_ASSIGN(const uint64_t below, base_size(config, base));
        size = std::max(below, size.value_or(0));
    }
    command.push_back(fresh);
    if (size.has_value()) {
        command.push_back(std::to_string(*size));
    } else {
        return Error{EINVAL, "is not there, and cannot be made: neither a disk below with a path nor <predsnap:size> says how "
                             "large it is"};
    }
    Result<void> made = run_program(command).discard();
    if (made.ok()) {
        made = give_to(fresh, owner.user, owner.group);
    }
    // link, unlike rename, never replaces an image that came into being meanwhile.
    if (made.ok() && link(fresh.c_str(), disk.image.c_str()) != 0) {
        made = errno_error("cannot be put in its place");
    }
    unlink(fresh.c_str());
    // A log of an image that was here before: the driver takes none that is not of its image.
    if (made.ok() && !disk.access_log.empty()) {
        (void)rename(disk.access_log.c_str(), (disk.access_log + ".old").c_str());
    }
    return made;
}

Result<void> check_backing(const ImageFacts& facts, const Base& base) {
    if (facts.backing_file.empty() || base.file.empty() || real_path(facts.backing_file) == real_path(base.file)) {
        return {};
    }
    return Error{EINVAL, "lies over " + facts.backing_file + ", but the domain's disk is " + base.file +
                             ": give the right image, or, if the disk was only moved, say so with qemu-img rebase -u -b " +
                             base.file + " -F " + base.format};
}

Result<void> check_image(const Config& config, const ProtectedDisk& disk, const Base& base) {
    TRY_ASSIGN(const ImageFacts facts, read_image(disk.image));
    if (!disk.uuid.empty() && facts.uuid != disk.uuid) {
        return Error{EINVAL, "has the UUID " + facts.uuid + ", the metadata says " + disk.uuid +
                                 ": it is another image. Put the right one there, or take the UUID out of the metadata"};
    }
    TRY(check_backing(facts, base));
    if (!base.file.empty()) {
        TRY_ASSIGN(const uint64_t below, base_size(config, base));
        if (facts.size < below) {
            return Error{EINVAL, "has " + std::to_string(facts.size) + " bytes, but the disk below, " + base.file + ", has " +
                                     std::to_string(below) + ": the guest would miss its end. Enlarge it with qemu-img "
                                     "resize"};
        }
    }
    return {};
}

// The node makes a capacity image of an empty file by itself.
Result<void> ensure_capacity(const ProtectedDisk& disk, const Owner& owner) {
    if (disk.capacity.empty()) {
        return {};
    }
    const Fd fd(open(disk.capacity.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (fd.get() < 0) {
        return errno_error("capacity image " + disk.capacity);
    }
    return give_to(disk.capacity, owner.user, owner.group);
}

Result<void> ensure_locked(const Config& config, const Domain& domain, const ProtectedDisk& disk, const Owner& owner) {
    const Base base = base_of(domain, disk);
    if (access(disk.image.c_str(), F_OK) != 0) {
        if (!disk.uuid.empty()) {
            return Error{ENOENT, "is not there, but the metadata knows its UUID: it was moved, or its file system is not "
                                 "mounted. A new one is not made in its place, as the guest would see its old disk"};
        }
        TRY(create_image(config, disk, base, owner));
    } else {
        TRY(check_image(config, disk, base));
        TRY(give_to(disk.image, owner.user, owner.group));
    }
    return ensure_capacity(disk, owner);
}

}  // namespace

Base base_of(const Domain& domain, const ProtectedDisk& disk) {
    if (disk.way == Way::kDaemon) {
        return {disk.base, disk.base_format};
    }
    const Disk& below = *domain.find_disk(disk.target);
    const bool has_path = below.type == "file" || below.type == "block";
    return {has_path ? below.source : "", below.format.empty() ? "raw" : below.format};
}

Result<uint64_t> base_size(const Config& config, const Base& base) {
    struct stat found;
    if (base.format == "raw" && stat(base.file.c_str(), &found) == 0 && S_ISREG(found.st_mode)) {
        return align_up(static_cast<uint64_t>(found.st_size), kSectorSize);  // as QEMU sees it; no need to ask
    }
    TRY_ASSIGN(const std::string qemu_img, config.program("qemu-img"));
    TRY_ASSIGN(const std::string printed,
               run_program({qemu_img, "info", "-U", "--output=json", "-f", base.format, base.file}));
    const Result<Json> info = Json::parse(printed);
    const int64_t size = info.ok() ? info.value()["virtual-size"].integer(-1) : -1;
    return size >= 0 ? Result<uint64_t>(static_cast<uint64_t>(size)) : Error{EIO, base.file + ": qemu-img tells no size"};
}

Result<ImageFacts> read_image(const std::string& path) {
    Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) {
        return errno_error("cannot be opened");
    }
    ReadOnlyFile file(std::move(fd));
    TRY_ASSIGN(const format::Superblock superblock, read_superblock(file));
    ImageFacts facts;
    facts.uuid = format_uuid(superblock.uuid);
    facts.size = superblock.virtual_size;
    facts.backing_file.assign(superblock.backing_file, superblock.backing_file_length);
    return facts;
}

Result<void> ensure_image(const Config& config, const Domain& domain, const ProtectedDisk& disk, const Owner& owner) {
    const std::string prefix = name_of(domain, disk) + ": image " + disk.image + " ";
    const Result<Lock> lock = Lock::take(config.run + "/locks", disk.image, kLockTimeoutS);
    if (!lock.ok()) {
        return Error{lock.error().code, prefix + lock.error().message};
    }
    const Result<void> ensured = ensure_locked(config, domain, disk, owner);
    return ensured.ok() ? ensured : Error{ensured.error().code, prefix + ensured.error().message};
}

}  // namespace predsnap::hook
