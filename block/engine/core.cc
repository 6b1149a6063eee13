// SPDX-License-Identifier: GPL-2.0-or-later
#include "core.h"

#include <cstring>

#include "checksum.h"

namespace predsnap {

void compute(Core& core, size_t bytes, const std::function<void()>& work) {
    constexpr size_t kWorthTheWay = 64 << 10;
    if (bytes < kWorthTheWay) {
        work();
    } else {
        core.host.run_on_executor(work);
    }
}

AlignedBuffer segment_header_block(const Core& core, format::SegmentHeader header) {
    return segment_header_block(core, header, core.uuid);
}

AlignedBuffer segment_header_block(const Core& core, format::SegmentHeader header, const Uuid& owner) {
    std::memcpy(header.magic, format::kSegmentMagic, sizeof(header.magic));
    std::memcpy(header.uuid, owner.data(), owner.size());
    header.checksum = self_hash(core.seed, header);
    AlignedBuffer block(kBlockSize);
    std::memset(block.data(), 0, block.size());
    std::memcpy(block.data(), &header, sizeof(header));
    return block;
}

Error corruption(Core& core, uint64_t offset, uint64_t length, std::string message) {
    {
        std::lock_guard lock(core.mutex);
        core.corrupt = true;
        ++core.stats.checksum_errors;
    }
    core.host.report(Event::corruption, offset, length, message);
    return Error{EIO, std::move(message)};
}

}  // namespace predsnap
