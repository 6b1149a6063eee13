// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>
#include <json-glib/json-glib.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <set>

#include "access_log_reader.h"
#include "block/engine/checksum.h"
#include "commands.h"
#include "tools/replay/trace.h"

namespace predsnap {
namespace {

constexpr char kUsage[] =
    "usage: predsnap log dump FILE... [--all]    as CSV, as `predsnapd evaluate` reads it\n"
    "       predsnap log stats FILE... [--json]  what is in it\n"
    "       predsnap log import TRACE FILE [--begin S]\n"
    "                                            makes an access log of a trace (CSV, also in zstd), which began S seconds\n"
    "                                            after the epoch (0)\n\n"
    "FILE is an access log (option access-log of the driver); give rotated ones, oldest first (disk.log.1 disk.log).\n"
    "dump gives times from 0, and writes of zeros as writes; discards are left out. --all: times since the epoch, and\n"
    "the operations R, W, Z (write zeros) and D (discard), and, where it is known, the share of the bytes that a write changed.\n";

int fail(const Error& error) {
    std::fprintf(stderr, "predsnap log: %s\n", error.message.c_str());
    return 1;
}

// Calls fn(record) for all records of the files, in order.
template <typename Fn>
Result<AccessLogReader::Facts> read_all(const std::vector<std::string>& paths, const Fn& fn) {
    AccessLogReader::Facts total;
    for (const std::string& path : paths) {
        TRY_ASSIGN(AccessLogReader reader, AccessLogReader::open(path));
        while (true) {
            std::vector<AccessRecord> records;
            TRY_ASSIGN(const bool more, reader.next(records));
            if (!more) {
                break;
            }
            std::for_each(records.begin(), records.end(), fn);
        }
        const AccessLogReader::Facts& facts = reader.facts();
        total = {total.blocks + facts.blocks,   total.records + facts.records, total.dropped + facts.dropped,
                 total.skipped + facts.skipped, facts.sequence,                facts.session};
    }
    return total;
}

int dump(const std::vector<std::string>& paths, bool all) {
    int64_t begin_us = all ? 0 : INT64_MIN, last_us = 0;
    std::printf("time_us,op,offset_bytes,length_bytes%s\n", all ? ",changed" : "");
    const auto facts = read_all(paths, [&](const AccessRecord& record) {
        if (!all && record.op == AccessOp::kDiscard) {
            return;
        }
        begin_us = begin_us == INT64_MIN ? record.time_us : begin_us;
        last_us = all ? record.time_us : std::max(last_us, record.time_us - begin_us);
        const char op = (all ? "RWZD" : "RWW")[static_cast<size_t>(record.op)];
        std::printf("%" PRId64 ",%c,%" PRIu64 ",%" PRIu64, last_us, op, record.offset, record.length);
        if (all && record.changed) {
            std::printf(",%.3f\n", *record.changed / 255.0);
        } else {
            std::printf(all ? ",\n" : "\n");
        }
    });
    return facts.ok() ? 0 : fail(facts.error());
}

struct Statistics {
    std::array<uint64_t, 4> requests{}, bytes{};
    uint64_t compared = 0;     // writes of which it is known how much they changed
    double changed = 0;        // the sum of their shares
    std::set<uint64_t> chunks;
    int64_t first_us = INT64_MAX, last_us = INT64_MIN;

    void add(const AccessRecord& record) {
        ++requests[static_cast<size_t>(record.op)];
        bytes[static_cast<size_t>(record.op)] += record.length;
        compared += record.changed ? 1 : 0;
        changed += record.changed.value_or(0) / 255.0;
        chunks.insert(record.offset >> 16);
        first_us = std::min(first_us, record.time_us);
        last_us = std::max(last_us, record.time_us);
    }
    double changed_share() const { return compared == 0 ? 0 : changed / static_cast<double>(compared); }
    double span_s() const { return last_us < first_us ? 0 : static_cast<double>(last_us - first_us) * 1e-6; }
};

constexpr const char* kNames[] = {"reads", "writes", "writes-of-zeros", "discards"};

void print_json(const Statistics& statistics, const AccessLogReader::Facts& facts) {
    JsonBuilder* builder = json_builder_new();
    const auto add = [&](const char* name, uint64_t value) {
        json_builder_set_member_name(builder, name);
        json_builder_add_int_value(builder, static_cast<gint64>(value));
    };
    json_builder_begin_object(builder);
    add("records", facts.records);
    add("dropped", facts.dropped);
    add("blocks", facts.blocks);
    add("bytes-skipped", facts.skipped);
    add("sequence", facts.sequence);
    add("chunks", statistics.chunks.size());
    json_builder_set_member_name(builder, "span");
    json_builder_add_double_value(builder, statistics.span_s());
    add("writes-compared", statistics.compared);
    if (statistics.compared > 0) {
        json_builder_set_member_name(builder, "changed");
        json_builder_add_double_value(builder, statistics.changed_share());
    }
    for (size_t i = 0; i < 4; ++i) {
        json_builder_set_member_name(builder, kNames[i]);
        json_builder_begin_object(builder);
        add("requests", statistics.requests[i]);
        add("bytes", statistics.bytes[i]);
        json_builder_end_object(builder);
    }
    json_builder_end_object(builder);
    JsonNode* root = json_builder_get_root(builder);
    char* text = json_to_string(root, TRUE);
    std::printf("%s\n", text);
    g_free(text);
    json_node_unref(root);
    g_object_unref(builder);
}

int stats(const std::vector<std::string>& paths, bool json) {
    Statistics statistics;
    const auto facts = read_all(paths, [&](const AccessRecord& record) { statistics.add(record); });
    if (!facts.ok()) {
        return fail(facts.error());
    }
    const AccessLogReader::Facts& found = facts.value();
    if (json) {
        print_json(statistics, found);
        return 0;
    }
    std::printf("%" PRIu64 " requests in %.1f s, %zu chunks of 64 KiB; %" PRIu64 " not recorded\n", found.records,
                statistics.span_s(), statistics.chunks.size(), found.dropped);
    for (size_t i = 0; i < 4; ++i) {
        std::printf("  %-16s %10" PRIu64 "  %14" PRIu64 " bytes\n", kNames[i], statistics.requests[i], statistics.bytes[i]);
    }
    if (statistics.compared > 0) {
        std::printf("  of %" PRIu64 " writes it is known how much they changed: %.1f%% of their bytes, on average\n",
                    statistics.compared, 100 * statistics.changed_share());
    }
    std::printf("%" PRIu64 " blocks; %" PRIu64 " bytes skipped as torn or damaged; the disk was at sequence %" PRIu64 "\n",
                found.blocks, found.skipped, found.sequence);
    return 0;
}

Result<void> import_trace(const std::string& trace, std::FILE* file, const std::string& path, int64_t begin_us) {
    TRY_ASSIGN(replay::TraceReader reader, replay::TraceReader::open(trace));
    uint8_t uuid[16];
    const uint64_t name[2] = {hash64(trace.data(), trace.size()), xxh3(trace.data(), trace.size(), 1)};
    std::memcpy(uuid, name, sizeof(uuid));  // there is no image: its own name tells it apart
    const format::AccessLogHeader header = make_access_log_header(uuid, 0, 0);
    AccessBlockWriter writer(image_seed(uuid), 1);
    const auto put = [&](const void* bytes, size_t length) -> Result<void> {
        if (std::fwrite(bytes, 1, length, file) != length) {
            return Error{EIO, path + ": cannot be written"};
        }
        return {};
    };
    TRY(put(&header, sizeof(header)));
    const auto put_block = [&]() -> Result<void> {
        const auto block = writer.finish(0, 0);
        return put(block.data(), block.size());
    };
    while (true) {
        TRY_ASSIGN(const std::optional<replay::Request> request, reader.next());
        if (!request) {
            break;
        }
        writer.add({begin_us + request->time_us, request->write ? AccessOp::kWrite : AccessOp::kRead, request->offset,
                    request->length, {}});
        if (writer.bytes() >= (64 << 10)) {
            TRY(put_block());
        }
    }
    return writer.empty() ? Result<void>() : put_block();
}

int import(const std::string& trace, const std::string& path, int64_t begin_us) {
    std::FILE* file = std::fopen(path.c_str(), "wbx");
    if (file == nullptr) {
        return fail({errno, path + ": " + std::strerror(errno)});
    }
    Result<void> done = import_trace(trace, file, path, begin_us);
    if (std::fclose(file) != 0 && done.ok()) {
        done = Error{EIO, path + ": cannot be written"};
    }
    return done.ok() ? 0 : fail(done.error());
}

}  // namespace

int log_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool all = false, json = false;
    int64_t begin_us = 0;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (argument == "--all") {
            all = true;
        } else if (argument == "--json") {
            json = true;
        } else if (argument == "--begin" && i + 1 < argc) {
            begin_us = g_ascii_strtoll(argv[++i], nullptr, 10) * 1000000;
        } else if (argument == "--help") {
            std::printf("%s", kUsage);
            return 0;
        } else {
            names.push_back(argument);
        }
    }
    const std::string what = names.empty() ? "" : names[0];
    if (what == "import" && names.size() == 3) {
        return import(names[1], names[2], begin_us);
    }
    if ((what == "dump" || what == "stats") && names.size() >= 2) {
        names.erase(names.begin());
        return what == "dump" ? dump(names, all) : stats(names, json);
    }
    std::fprintf(stderr, "%s", kUsage);
    return 2;
}

}  // namespace predsnap
