// SPDX-License-Identifier: GPL-2.0-or-later
//
// docs/format.md against the code: its tables against the structures, its hexdumps against images
// built here. FORMAT_EXAMPLE_IMAGE=FILE writes them out, the one with a pack to FILE.pack, to make the dumps with hexdump -C.
#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "block/engine/access_log.h"
#include "block/engine/format.h"
#include "format_example.h"

namespace predsnap::test {
namespace {

struct Field {
    size_t offset, size;
    bool operator==(const Field&) const = default;
};
using Fields = std::map<std::string, Field>;

#define FIELD(type, name) {#name, {offsetof(format::type, name), sizeof(format::type::name)}}

// All fields of all structures, as the compiler sees them.
const std::map<std::string, std::pair<size_t, Fields>>& structures() {
    static const std::map<std::string, std::pair<size_t, Fields>> all = {
        {"StreamPosition", {sizeof(format::StreamPosition), {
            FIELD(StreamPosition, segment), FIELD(StreamPosition, offset),
            FIELD(StreamPosition, ordinal)}}},
        {"Superblock", {sizeof(format::Superblock), {
            FIELD(Superblock, magic), FIELD(Superblock, version), FIELD(Superblock, generation),
            FIELD(Superblock, uuid), FIELD(Superblock, incompatible), FIELD(Superblock, compatible),
            FIELD(Superblock, autoclear), FIELD(Superblock, initial_size),
            FIELD(Superblock, virtual_size), FIELD(Superblock, segment_size),
            FIELD(Superblock, checkpoint_segment), FIELD(Superblock, checkpoint_sequence),
            FIELD(Superblock, checkpoint_id), FIELD(Superblock, durable_sequence),
            FIELD(Superblock, create_time), FIELD(Superblock, log), FIELD(Superblock, index),
            FIELD(Superblock, backing_file_length), FIELD(Superblock, backing_format_length),
            FIELD(Superblock, reserved0), FIELD(Superblock, backing_file),
            FIELD(Superblock, backing_format), FIELD(Superblock, retention),
            FIELD(Superblock, reserved1), FIELD(Superblock, cdp_window_us), FIELD(Superblock, cdp_bytes),
            FIELD(Superblock, previous_segments), FIELD(Superblock, previous_segment),
            FIELD(Superblock, previous_sequence), FIELD(Superblock, previous_id), FIELD(Superblock, previous_index),
            FIELD(Superblock, rule_count), FIELD(Superblock, reserved2), FIELD(Superblock, rules), FIELD(Superblock, capacity),
            FIELD(Superblock, reserved),
            FIELD(Superblock, checksum)}}},
        {"RetentionRuleRow", {sizeof(format::RetentionRuleRow), {
            FIELD(RetentionRuleRow, every_us), FIELD(RetentionRuleRow, for_us)}}},
        {"CapacitySuperblock", {sizeof(format::CapacitySuperblock), {
            FIELD(CapacitySuperblock, magic), FIELD(CapacitySuperblock, version), FIELD(CapacitySuperblock, generation),
            FIELD(CapacitySuperblock, uuid), FIELD(CapacitySuperblock, disk_uuid),
            FIELD(CapacitySuperblock, incompatible), FIELD(CapacitySuperblock, compatible),
            FIELD(CapacitySuperblock, autoclear), FIELD(CapacitySuperblock, segment_size),
            FIELD(CapacitySuperblock, reserved0), FIELD(CapacitySuperblock, create_time),
            FIELD(CapacitySuperblock, reserved), FIELD(CapacitySuperblock, checksum)}}},
        {"SegmentHeader", {sizeof(format::SegmentHeader), {
            FIELD(SegmentHeader, magic), FIELD(SegmentHeader, kind), FIELD(SegmentHeader, reserved0),
            FIELD(SegmentHeader, uuid), FIELD(SegmentHeader, self), FIELD(SegmentHeader, next),
            FIELD(SegmentHeader, ordinal), FIELD(SegmentHeader, first_sequence),
            FIELD(SegmentHeader, previous_hash), FIELD(SegmentHeader, checksum)}}},
        {"BatchHeader", {sizeof(format::BatchHeader), {
            FIELD(BatchHeader, magic), FIELD(BatchHeader, header_bytes), FIELD(BatchHeader, sequence),
            FIELD(BatchHeader, time), FIELD(BatchHeader, previous_hash),
            FIELD(BatchHeader, durable_sequence), FIELD(BatchHeader, session),
            FIELD(BatchHeader, total_bytes), FIELD(BatchHeader, entry_count),
            FIELD(BatchHeader, sum_count), FIELD(BatchHeader, record_bytes),
            FIELD(BatchHeader, checksum)}}},
        {"Entry", {sizeof(format::Entry), {
            FIELD(Entry, start), FIELD(Entry, count), FIELD(Entry, place), FIELD(Entry, first_sum),
            FIELD(Entry, kind), FIELD(Entry, flags), FIELD(Entry, units), FIELD(Entry, from)}}},
        {"RecordHeader", {sizeof(format::RecordHeader), {
            FIELD(RecordHeader, type), FIELD(RecordHeader, length)}}},
        {"PointRecord", {sizeof(format::PointRecord), {
            FIELD(PointRecord, sequence), FIELD(PointRecord, time), FIELD(PointRecord, kind)}}},
        {"SnapshotRecord", {sizeof(format::SnapshotRecord), {
            FIELD(SnapshotRecord, id), FIELD(SnapshotRecord, sequence), FIELD(SnapshotRecord, time),
            FIELD(SnapshotRecord, disk_size), FIELD(SnapshotRecord, vm_state_size),
            FIELD(SnapshotRecord, vm_clock_ns), FIELD(SnapshotRecord, icount),
            FIELD(SnapshotRecord, horizon_s)}}},
        {"SnapshotDeleteRecord", {sizeof(format::SnapshotDeleteRecord), {
            FIELD(SnapshotDeleteRecord, id)}}},
        {"RollbackRecord", {sizeof(format::RollbackRecord), {FIELD(RollbackRecord, target)}}},
        {"ResizeRecord", {sizeof(format::ResizeRecord), {FIELD(ResizeRecord, size)}}},
        {"StreamRecord", {sizeof(format::StreamRecord), {
            FIELD(StreamRecord, id), FIELD(StreamRecord, lower), FIELD(StreamRecord, upper),
            FIELD(StreamRecord, lower_time), FIELD(StreamRecord, base), FIELD(StreamRecord, sectors),
            FIELD(StreamRecord, index_offset), FIELD(StreamRecord, index_bytes),
            FIELD(StreamRecord, index_hash), FIELD(StreamRecord, lower_clock),
            FIELD(StreamRecord, lower_point), FIELD(StreamRecord, tier)}}},
        {"StreamDropRecord", {sizeof(format::StreamDropRecord), {FIELD(StreamDropRecord, id)}}},
        {"DeltaHeader", {sizeof(format::DeltaHeader), {
            FIELD(DeltaHeader, magic), FIELD(DeltaHeader, encoding), FIELD(DeltaHeader, depth),
            FIELD(DeltaHeader, bytes), FIELD(DeltaHeader, units), FIELD(DeltaHeader, base)}}},
        {"StreamIndexHeader", {sizeof(format::StreamIndexHeader), {
            FIELD(StreamIndexHeader, magic), FIELD(StreamIndexHeader, algorithm), FIELD(StreamIndexHeader, flags),
            FIELD(StreamIndexHeader, reserved0), FIELD(StreamIndexHeader, stream), FIELD(StreamIndexHeader, lower),
            FIELD(StreamIndexHeader, upper), FIELD(StreamIndexHeader, lower_time),
            FIELD(StreamIndexHeader, upper_time), FIELD(StreamIndexHeader, first_sector),
            FIELD(StreamIndexHeader, end_sector), FIELD(StreamIndexHeader, changed_sectors),
            FIELD(StreamIndexHeader, extents), FIELD(StreamIndexHeader, frames),
            FIELD(StreamIndexHeader, added_bytes), FIELD(StreamIndexHeader, modified_bytes),
            FIELD(StreamIndexHeader, discarded_bytes), FIELD(StreamIndexHeader, dictionary),
            FIELD(StreamIndexHeader, dictionary_offset), FIELD(StreamIndexHeader, dictionary_hash),
            FIELD(StreamIndexHeader, dictionary_bytes), FIELD(StreamIndexHeader, references),
            FIELD(StreamIndexHeader, checksum)}}},
        {"FrameRow", {sizeof(format::FrameRow), {
            FIELD(FrameRow, offset), FIELD(FrameRow, stored), FIELD(FrameRow, form),
            FIELD(FrameRow, hash)}}},
        {"ReferenceRow", {sizeof(format::ReferenceRow), {
            FIELD(ReferenceRow, place), FIELD(ReferenceRow, sectors), FIELD(ReferenceRow, reserved)}}},
        {"StreamReferencesRecord", {sizeof(format::StreamReferencesRecord), {FIELD(StreamReferencesRecord, id)}}},
        {"FloorRecord", {sizeof(format::FloorRecord), {
            FIELD(FloorRecord, sequence), FIELD(FloorRecord, time), FIELD(FloorRecord, clock)}}},
        {"PackedExtent", {sizeof(format::PackedExtent), {
            FIELD(PackedExtent, start_low), FIELD(PackedExtent, place_low),
            FIELD(PackedExtent, checksum), FIELD(PackedExtent, count),
            FIELD(PackedExtent, start_high), FIELD(PackedExtent, place_high),
            FIELD(PackedExtent, kind), FIELD(PackedExtent, head_tail),
            FIELD(PackedExtent, reserved)}}},
        {"ChunkHeader", {sizeof(format::ChunkHeader), {
            FIELD(ChunkHeader, magic), FIELD(ChunkHeader, bytes), FIELD(ChunkHeader, blob),
            FIELD(ChunkHeader, blob_offset), FIELD(ChunkHeader, blob_bytes),
            FIELD(ChunkHeader, blob_hash), FIELD(ChunkHeader, session),
            FIELD(ChunkHeader, previous_hash), FIELD(ChunkHeader, next),
            FIELD(ChunkHeader, checksum)}}},
        {"IndexHeader", {sizeof(format::IndexHeader), {
            FIELD(IndexHeader, segment), FIELD(IndexHeader, next_segment), FIELD(IndexHeader, ordinal),
            FIELD(IndexHeader, first_sequence), FIELD(IndexHeader, last_sequence),
            FIELD(IndexHeader, last_hash), FIELD(IndexHeader, end_offset),
            FIELD(IndexHeader, row_count), FIELD(IndexHeader, entry_count),
            FIELD(IndexHeader, sum_count), FIELD(IndexHeader, record_bytes),
            FIELD(IndexHeader, undo_count), FIELD(IndexHeader, redo_count),
            FIELD(IndexHeader, clock)}}},
        {"IndexRow", {sizeof(format::IndexRow), {
            FIELD(IndexRow, sequence), FIELD(IndexRow, time), FIELD(IndexRow, entry_count),
            FIELD(IndexRow, record_bytes), FIELD(IndexRow, undo_count), FIELD(IndexRow, redo_count)}}},
        {"AccessLogHeader", {sizeof(format::AccessLogHeader), {
            FIELD(AccessLogHeader, magic), FIELD(AccessLogHeader, version),
            FIELD(AccessLogHeader, reserved0), FIELD(AccessLogHeader, uuid),
            FIELD(AccessLogHeader, create_time), FIELD(AccessLogHeader, disk_size),
            FIELD(AccessLogHeader, reserved1), FIELD(AccessLogHeader, checksum)}}},
        {"AccessBlock", {sizeof(format::AccessBlock), {
            FIELD(AccessBlock, magic), FIELD(AccessBlock, bytes), FIELD(AccessBlock, count),
            FIELD(AccessBlock, dropped), FIELD(AccessBlock, number), FIELD(AccessBlock, session),
            FIELD(AccessBlock, time), FIELD(AccessBlock, sequence),
            FIELD(AccessBlock, checksum)}}},
        {"PageHeader", {sizeof(format::PageHeader), {
            FIELD(PageHeader, magic), FIELD(PageHeader, kind), FIELD(PageHeader, reserved),
            FIELD(PageHeader, bytes), FIELD(PageHeader, number), FIELD(PageHeader, checkpoint_id),
            FIELD(PageHeader, checksum)}}},
        {"SegmentRow", {sizeof(format::SegmentRow), {
            FIELD(SegmentRow, id), FIELD(SegmentRow, kind), FIELD(SegmentRow, reserved),
            FIELD(SegmentRow, index_span),
            FIELD(SegmentRow, ordinal), FIELD(SegmentRow, first_sequence),
            FIELD(SegmentRow, last_sequence), FIELD(SegmentRow, first_time),
            FIELD(SegmentRow, last_time), FIELD(SegmentRow, index), FIELD(SegmentRow, clock)}}},
        {"CheckpointState", {sizeof(format::CheckpointState), {
            FIELD(CheckpointState, sequence), FIELD(CheckpointState, initial_size),
            FIELD(CheckpointState, next_snapshot_id), FIELD(CheckpointState, next_blob),
            FIELD(CheckpointState, index), FIELD(CheckpointState, index_hash),
            FIELD(CheckpointState, log),
            FIELD(CheckpointState, log_announced), FIELD(CheckpointState, open_indexes),
            FIELD(CheckpointState, log_hash), FIELD(CheckpointState, last_time),
            FIELD(CheckpointState, point_sequence), FIELD(CheckpointState, point_time),
            FIELD(CheckpointState, floor_sequence), FIELD(CheckpointState, floor_time),
            FIELD(CheckpointState, floor_clock),
            FIELD(CheckpointState, next_stream_id), FIELD(CheckpointState, next_stream_base),
            FIELD(CheckpointState, stream_bytes),
            FIELD(CheckpointState, snapshot_bytes), FIELD(CheckpointState, rollback_count),
            FIELD(CheckpointState, resize_count)}}},
    };
    return all;
}

std::vector<std::string> document() {
    std::ifstream file(PREDSNAP_FORMAT_MD);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
        lines.push_back(line);
    }
    return lines;
}

// Name and size of a structure's heading: "### `Name` (N bytes)".
bool parse_heading(const std::string& line, std::string* name, size_t* size) {
    char text[64];
    if (std::sscanf(line.c_str(), "### `%63[A-Za-z]` (%zu bytes)", text, size) != 2) {
        return false;
    }
    *name = text;
    return true;
}

// A table's row: "| offset | size | `name` | ...".
bool parse_row(const std::string& line, std::string* name, Field* field) {
    char text[64];
    if (std::sscanf(line.c_str(), "| %zu | %zu | `%63[a-z0-9_]` |", &field->offset, &field->size,
                    text) != 3) {
        return false;
    }
    *name = text;
    return true;
}

// Eight hexadecimal digits and two spaces: a line of a hexdump.
bool is_dump(const std::string& line) {
    return line.size() > 10 && line.substr(8, 2) == "  " &&
           std::all_of(line.begin(), line.begin() + 8,
                       [](char c) { return std::isxdigit(static_cast<unsigned char>(c)); });
}

std::string dump_line(const std::vector<uint8_t>& image, size_t offset) {
    std::ostringstream out;
    char text[16];
    std::snprintf(text, sizeof(text), "%08zx ", offset);
    out << text;
    std::string ascii;
    for (size_t i = 0; i < 16; ++i) {
        const uint8_t byte = image.at(offset + i);
        std::snprintf(text, sizeof(text), i == 8 ? "  %02x" : " %02x", byte);
        out << text;
        ascii += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
    }
    out << "  |" << ascii << "|";
    return out.str();
}

TEST(FormatDocument, ItsTablesAreThoseOfTheCode) {
    std::map<std::string, std::pair<size_t, Fields>> documented;
    std::string structure;
    for (const std::string& line : document()) {
        std::string name;
        size_t size = 0;
        Field field{};
        if (parse_heading(line, &name, &size)) {
            structure = name;
            documented[name].first = size;
        } else if (line.starts_with("#")) {
            structure.clear();
        } else if (!structure.empty() && parse_row(line, &name, &field)) {
            documented[structure].second[name] = field;
        }
    }
    for (const auto& [name, expected] : structures()) {
        ASSERT_TRUE(documented.contains(name)) << name << " is not described";
        EXPECT_EQ(documented[name].first, expected.first) << "size of " << name;
        for (const auto& [field, place] : expected.second) {
            ASSERT_TRUE(documented[name].second.contains(field)) << name << "::" << field;
            EXPECT_EQ(documented[name].second[field].offset, place.offset) << name << "::" << field;
            EXPECT_EQ(documented[name].second[field].size, place.size) << name << "::" << field;
        }
        EXPECT_EQ(documented[name].second.size(), expected.second.size()) << name;
    }
    EXPECT_EQ(documented.size(), structures().size());
}

TEST(FormatDocument, TheFieldsOfTheTestFillTheirStructures) {
    for (const auto& [name, structure] : structures()) {
        size_t total = 0;
        for (const auto& [field, place] : structure.second) {
            total += place.size;
        }
        EXPECT_EQ(total, structure.first) << name << " has a field the test does not know";
    }
}

void write_out(const std::vector<uint8_t>& image, const char* suffix) {
    if (const char* path = std::getenv("FORMAT_EXAMPLE_IMAGE")) {
        std::ofstream(path + std::string(suffix), std::ios::binary)
            .write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
    }
}

// The bytes of a pack are those of the version of zstd that made it.
bool same_zstd() { return std::string(ZSTD_versionString()) == "1.5.4"; }

// Dumps are of the first example, those in the section of the second of that.
TEST(FormatDocument, ItsHexdumpsAreThoseOfTheExamples) {
    const std::vector<uint8_t> first = build_format_example(), second = build_pack_example();
    write_out(first, "");
    write_out(second, ".pack");
    std::map<const std::vector<uint8_t>*, size_t> checked;
    const std::vector<uint8_t>* image = &first;
    for (const std::string& line : document()) {
        if (line.starts_with("## ")) {
            image = line == "## An example with a pack" ? &second : &first;
        }
        if (!is_dump(line) || (image == &second && !same_zstd())) {
            continue;
        }
        const size_t offset = std::stoul(line.substr(0, 8), nullptr, 16);
        ASSERT_LE(offset + 16, image->size()) << line;
        EXPECT_EQ(line, dump_line(*image, offset));
        ++checked[image];
    }
    EXPECT_GE(checked[&first], 100u);
    EXPECT_GE(checked[&second], same_zstd() ? 45u : 0u);
}

TEST(FormatDocument, TheExamplesAreTheSameEachTime) {
    EXPECT_EQ(build_format_example(), build_format_example());
    EXPECT_EQ(build_pack_example(), build_pack_example());
}

}  // namespace
}  // namespace predsnap::test
