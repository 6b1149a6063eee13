// SPDX-License-Identifier: GPL-2.0-or-later
#include "capacity.h"

#include <algorithm>
#include <cstring>

#include "buffer.h"
#include "checksum.h"
#include "superblock.h"
#include "text.h"
#include "wait.h"

namespace predsnap {

namespace {

using format::CapacitySuperblock;

// So much must be zeros for a device to count as empty: what file systems and volume managers keep at the beginning
// lies within it.
constexpr uint64_t kBlankBytes = 1 << 20;

std::string hex(const Uuid& id) {
    std::string out;
    for (size_t i = 0; i < id.size(); ++i) {
        out += text(i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", id[i]);
    }
    return out;
}

bool intact(const CapacitySuperblock& slot) {
    return std::memcmp(slot.magic, format::kCapacityMagic, sizeof(slot.magic)) == 0 &&
           slot.checksum == self_hash(0, slot);
}

Result<void> read_part(Device& device, uint64_t from, uint64_t to, AlignedBuffer& head) {
    const Result<void> done =
        from < to ? device.pread(from, head.data() + from, to - from) : Result<void>();
    return done.ok() ? done : Error{done.error().code, text("the beginning of the capacity image cannot be read: %s",
                                                            done.error().message.c_str())};
}

// The slots of the superblock; if none is intact, the first bytes of the device. Zeros past its end.
Result<AlignedBuffer> read_beginning(Device& device) {
    AlignedBuffer head(kBlankBytes);
    std::memset(head.data(), 0, head.size());
    TRY_ASSIGN(const uint64_t length, device.length());
    const uint64_t end = align_down(std::min<uint64_t>(length, head.size()), kSectorSize);
    const uint64_t slots = std::min<uint64_t>(end, format::kSuperblockSlots * kBlockSize);
    TRY(read_part(device, 0, slots, head));
    const auto* slot = reinterpret_cast<const CapacitySuperblock*>(head.data());
    if (!std::any_of(slot, slot + format::kSuperblockSlots, intact)) {
        TRY(read_part(device, slots, end, head));
    }
    return head;
}

}  // namespace

Result<CapacitySuperblock> parse_capacity(std::span<const uint8_t> head) {
    const CapacitySuperblock* newest = nullptr;
    for (uint32_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
        const auto* block = reinterpret_cast<const CapacitySuperblock*>(head.data() + slot * kBlockSize);
        if (intact(*block) && (newest == nullptr || block->generation > newest->generation)) {
            newest = block;
        }
    }
    if (newest == nullptr) {
        return Error{EINVAL, "the capacity node holds something else: give an empty one (its first MiB is zeros), or the "
                             "one this disk has had before"};
    }
    if (newest->version != format::kCapacityVersion || newest->incompatible != 0) {
        return Error{ENOTSUP, text("the capacity image has version %u and features 0x%llx that this program does not know; "
                                   "open it with a newer one",
                                   newest->version, static_cast<ull>(newest->incompatible))};
    }
    return *newest;
}

// Whether there is nothing there; or what a crash may have left of make(), for this disk.
bool Capacity::is_blank(const AlignedBuffer& head) const {
    AlignedBuffer rest(head.size());
    std::memcpy(rest.data(), head.data(), head.size());
    for (uint32_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
        auto* const block = reinterpret_cast<CapacitySuperblock*>(rest.data() + slot * kBlockSize);
        if (intact(*block)) {
            return false;
        }
        // All that is in the first sector, and the checksum: the rest of it is zeros.
        if (std::memcmp(block->magic, format::kCapacityMagic, sizeof(block->magic)) == 0 &&
            std::memcmp(block->disk_uuid, core_.uuid.data(), core_.uuid.size()) == 0) {
            std::memset(block, 0, kSectorSize);
        }
        block->checksum = 0;
    }
    return std::all_of(rest.data(), rest.data() + rest.size(), [](uint8_t byte) { return byte == 0; });
}

Result<void> Capacity::attach(Device& device) {
    TRY_ASSIGN(const AlignedBuffer head, read_beginning(device));
    if (is_blank(head)) {
        blank_ = true;
        return {};
    }
    TRY_ASSIGN(const CapacitySuperblock block, parse_capacity(head.bytes()));
    if (std::memcmp(block.disk_uuid, core_.uuid.data(), core_.uuid.size()) != 0) {
        Uuid owner;
        std::memcpy(owner.data(), block.disk_uuid, owner.size());
        return Error{EINVAL, text("the capacity image belongs to the disk %s, not to this one (%s): give the one of this disk, "
                                  "or an empty node",
                                  hex(owner).c_str(), hex(core_.uuid).c_str())};
    }
    if (block.segment_size != core_.geometry.segment_size) {
        return Error{EINVAL, text("the capacity image has segments of %u bytes, the disk's image of %u", block.segment_size,
                                  core_.geometry.segment_size)};
    }
    std::memcpy(id_.data(), block.uuid, id_.size());
    unexpected_ = expected_ != Uuid{} && id_ != expected_;
    if (!unexpected_) {
        device_ = &device;
    }
    return {};
}

Result<void> Capacity::make(Device& device) {
    CapacitySuperblock block{};
    std::memcpy(block.magic, format::kCapacityMagic, sizeof(block.magic));
    block.version = format::kCapacityVersion;
    const uint64_t random[2] = {core_.host.random(), core_.host.random()};
    std::memcpy(block.uuid, random, sizeof(block.uuid));
    block.uuid[6] = static_cast<uint8_t>((block.uuid[6] & 0x0f) | 0x40);  // RFC 4122, version 4
    block.uuid[8] = static_cast<uint8_t>((block.uuid[8] & 0x3f) | 0x80);
    std::memcpy(block.disk_uuid, core_.uuid.data(), core_.uuid.size());
    block.segment_size = core_.geometry.segment_size;
    block.create_time = core_.host.now().value;
    AlignedBuffer area(format::kSuperblockArea);
    std::memset(area.data(), 0, area.size());
    for (uint32_t slot = 0; slot < format::kSuperblockSlots; ++slot) {
        block.generation = 2 + slot;  // slot `generation % 2`
        block.checksum = self_hash(0, block);
        std::memcpy(area.data() + slot * kBlockSize, &block, sizeof(block));
    }
    TRY(device.pwrite(0, area.data(), area.size()));
    TRY(device.flush());
    std::memcpy(id_.data(), block.uuid, id_.size());
    blank_ = unexpected_ = false;
    device_ = &device;
    return {};
}

void Capacity::report_once(Event event, bool* reported, const std::string& message) {
    {
        Lock lock(core_.mutex);
        if (*reported) {
            return;
        }
        *reported = true;
    }
    core_.host.report(event, 0, 0, message);
}

Error Capacity::absent() {
    std::string message = text("old history of this disk lies in the capacity image %s, which the node does not have: open it "
                               "with 'capacity'",
                               hex(expected_).c_str());
    report_once(Event::capacity_error, &failed_, message);
    return Error{EIO, std::move(message)};
}

Result<void> Capacity::read(SegmentId id, uint64_t offset, uint8_t* to, size_t length) {
    const uint64_t begin = core_.geometry.offset(id) + offset;
    Result<uint64_t> size = device_->length();
    Result<void> done = size.ok() ? Result<void>() : Result<void>(size.error());
    if (size.ok() && size.value() < begin + length) {
        done = Error{EIO, text("it ends at %llu", static_cast<ull>(size.value()))};
    } else if (size.ok()) {
        done = device_->pread(begin, to, length);
    }
    if (done.ok()) {
        Lock lock(core_.mutex);
        failed_ = false;
        return {};
    }
    const std::string& why = done.error().message;
    std::string message = text("the capacity image cannot be read at offset %llu (%s): check the node given as 'capacity'",
                               static_cast<ull>(begin), why.empty() ? std::strerror(done.error().code) : why.c_str());
    report_once(Event::capacity_error, &failed_, message);
    return Error{EIO, std::move(message)};
}

Result<void> Capacity::noted(Result<void> done) {
    if (!done.ok() && done.error().code == ENOSPC) {
        report_once(Event::capacity_full, &full_,
                    "the capacity image is full: old history stays in the disk's image until there is space");
    } else if (!done.ok()) {
        const Error& error = done.error();
        report_once(Event::capacity_error, &failed_,
                    text("the capacity image cannot be written (%s): old history stays in the disk's image",
                         error.message.empty() ? std::strerror(error.code) : error.message.c_str()));
    }
    return done;
}

Result<void> Capacity::Watched::flush() {
    TRY(capacity_.noted(capacity_.device_->flush()));
    Lock lock(capacity_.core_.mutex);
    capacity_.failed_ = capacity_.full_ = false;
    return {};
}

Result<SegmentId> Capacity::take() {
    if (!released_.empty()) {
        const SegmentId id(*released_.begin());
        released_.erase(released_.begin());
        used_[id.value] = 0;
        return id;
    }
    while (used_.contains(next_)) {
        ++next_;
    }
    if (next_ >= core_.geometry.max_segments()) {
        return Error{ENOSPC, "the capacity image has reached its limit of segments"};
    }
    used_[next_] = 0;
    return SegmentId(next_++);
}

void Capacity::release(SegmentId id) {
    used_.erase(id.value);
    if (id.value < next_) {
        released_.insert(id.value);
    }
}

void Capacity::hold(const std::vector<SegmentId>& ids) {
    for (const SegmentId id : ids) {
        ++used_[id.value];
    }
}

void Capacity::let_go(const std::vector<SegmentId>& ids, std::vector<SegmentId>* unused) {
    for (const SegmentId id : ids) {
        if (--used_[id.value] == 0) {
            unused->push_back(id);
        }
    }
}

}  // namespace predsnap
