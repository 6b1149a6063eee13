// SPDX-License-Identifier: GPL-2.0-or-later
//
// The access log of shim.h: requests note what they do, one thread takes finished blocks.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <vector>

#include "block/engine/access_log.h"
#include "block/engine/checksum.h"
#include "shim.h"

using predsnap::AccessBlockWriter;
using predsnap::AccessOp;
using predsnap::AccessRecord;

struct PdsAccessLog {
    PdsAccessLog(const uint8_t (&from)[16], uint64_t session)
        : writer(predsnap::image_seed(from), session) {
        std::copy(std::begin(from), std::end(from), uuid);
    }
    uint8_t uuid[16];
    std::mutex mutex;          // held for as long as a record takes to pack
    AccessBlockWriter writer;  // protected by it, as what follows
    uint32_t dropped = 0;      // since the last block
    bool asked = false;        // the thread was told that there is enough for a block
    std::vector<uint8_t> taken;  // the thread's own
    std::atomic<uint64_t> dropped_total{0}, records_total{0};  // written with the mutex held, read without

    // Without a locked instruction, which each request would pay for.
    void count_record() { records_total.store(records_total.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
};

static_assert(PDS_ACCESS_READ == static_cast<int>(AccessOp::kRead));
static_assert(PDS_ACCESS_WRITE == static_cast<int>(AccessOp::kWrite));
static_assert(PDS_ACCESS_WRITE_ZEROES == static_cast<int>(AccessOp::kWriteZeroes));
static_assert(PDS_ACCESS_DISCARD == static_cast<int>(AccessOp::kDiscard));
static_assert(PDS_ACCESS_HEADER_BYTES == sizeof(predsnap::format::AccessLogHeader));

namespace {

// Enough to be worth a write; and all that waits for a thread that does not come.
constexpr size_t kWorthWriting = 64 << 10;
constexpr size_t kWaitingMax = predsnap::format::kAccessBlockBytesMax - AccessBlockWriter::kRecordMax;

}  // namespace

extern "C" {

PdsAccessLog* pds_access_log_new(const uint8_t uuid[16], uint64_t session) {
    uint8_t copy[16];
    std::copy_n(uuid, sizeof(copy), copy);
    return new PdsAccessLog(copy, session);
}

void pds_access_log_free(PdsAccessLog* log) { delete log; }

void pds_access_log_header(const PdsAccessLog* log, int64_t time_us, uint64_t disk_size, void* header) {
    const auto made = predsnap::make_access_log_header(log->uuid, time_us, disk_size);
    std::memcpy(header, &made, sizeof(made));
}

bool pds_access_log_header_is_valid(const PdsAccessLog* log, const void* header) {
    predsnap::format::AccessLogHeader copy;
    std::memcpy(&copy, header, sizeof(copy));
    return predsnap::access_log_header_is_valid(copy) && std::equal(std::begin(copy.uuid), std::end(copy.uuid), log->uuid);
}

bool pds_access_log_note(PdsAccessLog* log, int64_t time_us, PdsAccess access, uint64_t offset, uint64_t length,
                         int changed) {
    AccessRecord record{time_us, static_cast<AccessOp>(access), offset, length, {}};
    if (changed != PDS_CHANGED_UNKNOWN) {
        record.changed = static_cast<uint8_t>(changed);
    }
    const std::lock_guard<std::mutex> guard(log->mutex);
    if (log->writer.bytes() >= kWaitingMax) {
        ++log->dropped;
        ++log->dropped_total;
        return false;
    }
    log->writer.add(record);
    log->count_record();
    const bool ask = !log->asked && log->writer.bytes() >= kWorthWriting;
    log->asked |= ask;
    return ask;
}

const void* pds_access_log_take(PdsAccessLog* log, uint64_t sequence, size_t* length, uint32_t* records) {
    const std::lock_guard<std::mutex> guard(log->mutex);
    *length = 0;
    *records = log->writer.count();
    if (log->writer.empty() && log->dropped == 0) {
        return nullptr;
    }
    const auto block = log->writer.finish(sequence, log->dropped);
    log->taken.assign(block.begin(), block.end());
    log->dropped = 0;
    log->asked = false;
    *length = log->taken.size();
    return log->taken.data();
}

void pds_access_log_lost(PdsAccessLog* log, uint32_t records) {
    const std::lock_guard<std::mutex> guard(log->mutex);
    log->dropped = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{log->dropped} + records, UINT32_MAX));
    log->dropped_total += records;
}

void pds_access_log_counts(const PdsAccessLog* log, uint64_t* records, uint64_t* dropped) {
    *records = log->records_total;
    *dropped = log->dropped_total;
}

}  // extern "C"
