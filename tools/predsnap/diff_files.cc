// SPDX-License-Identifier: GPL-2.0-or-later
#include "diff_files.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "partitions.h"
#include "show.h"
#include "terminal.h"

namespace predsnap {
namespace {

using State = FileSystemChanges::State;

const char* word(FileChange::Kind kind) {
    switch (kind) {
        case FileChange::Kind::added:
            return "added";
        case FileChange::Kind::removed:
            return "removed";
        case FileChange::Kind::content:
            return "changed";
        case FileChange::Kind::moved:
            return "moved";
        case FileChange::Kind::attributes:
            break;
    }
    return "attributes";
}

const char* word(State state) {
    return state == State::gone ? "gone" : state == State::made ? "made" : state == State::made_anew ? "made-anew" : "compared";
}

// Those of either state: a table may have been overwritten since.
Result<std::vector<Partition>> places(MomentView& from, MomentView& to) {
    std::vector<Partition> all{{0, 0, from.size()}};
    for (MomentView* disk : {&from, &to}) {
        TRY_ASSIGN(const std::vector<Partition> found, find_partitions(*disk));
        for (const Partition& one : found) {
            const bool known = std::any_of(all.begin(), all.end(), [&](const Partition& other) { return other.offset == one.offset; });
            if (!known) {
                all.push_back(one);
            }
        }
    }
    return all;
}

// What lies in the partition, from its beginning.
std::vector<ByteRange> within(const std::vector<ByteRange>& ranges, const Partition& partition) {
    std::vector<ByteRange> found;
    for (const ByteRange& range : ranges) {
        const uint64_t begin = std::max(range.offset, partition.offset);
        const uint64_t end = std::min(range.offset + range.length, partition.offset + partition.length);
        if (begin < end) {
            found.push_back({begin - partition.offset, end - begin});
        }
    }
    return found;
}

Result<void> compare(MomentView& from, MomentView& to, const std::vector<ByteRange>& differ, FileSystemChanges* changes) {
    TRY_ASSIGN(const auto older, ExtDevice::open(from, changes->offset));
    TRY_ASSIGN(const auto newer, ExtDevice::open(to, changes->offset));
    if (std::memcmp(older->fs()->super->s_uuid, newer->fs()->super->s_uuid, sizeof(older->fs()->super->s_uuid)) != 0) {
        changes->state = State::made_anew;
        return {};
    }
    Progress progress;
    const auto show = [&](double share) {
        progress.show("reading " + changes->name(), share);
        return !interrupted();
    };
    TRY_ASSIGN(changes->files, changed_files(*older, *newer, differ, show));
    return {};
}

}  // namespace

std::string FileSystemChanges::name() const { return partition == 0 ? "the whole disk" : "partition " + std::to_string(partition); }

Json FileSystemChanges::json() const {
    JsonList list;
    for (const FileChange& file : files) {
        JsonMap map;
        map.set("path", file.path).set("change", word(file.kind));
        if (!file.before.empty()) {
            map.set("path-before", file.before);
        }
        list.add(map.set("inode", file.inode).set("folder", file.folder).set("size", static_cast<int64_t>(file.size)).done());
    }
    return JsonMap()
        .set("partition", partition)
        .set("offset", static_cast<int64_t>(offset))
        .set("state", word(state))
        .set("files", list.done())
        .done();
}

Result<std::vector<FileSystemChanges>> changed_files(Target& target, const TargetOptions& options, int64_t from, int64_t to,
                                                     const std::vector<ByteRange>& differ) {
    TRY_ASSIGN(const auto older, MomentView::open(target, options, from));
    TRY_ASSIGN(const auto newer, MomentView::open(target, options, to));
    TRY_ASSIGN(const std::vector<Partition> all, places(*older, *newer));
    std::vector<FileSystemChanges> found;
    for (const Partition& place : all) {
        TRY_ASSIGN(const bool was, ExtDevice::is_at(*older, place.offset));
        TRY_ASSIGN(const bool is, ExtDevice::is_at(*newer, place.offset));
        if (!was && !is) {
            continue;
        }
        FileSystemChanges changes{place.number, place.offset, was && is ? State::compared : was ? State::gone : State::made, {}};
        const std::vector<ByteRange> inside = within(differ, place);
        if (was && is && !inside.empty()) {
            TRY(compare(*older, *newer, inside, &changes));
        }
        found.push_back(std::move(changes));
    }
    if (found.empty()) {
        return Error{ENOENT, target.name() + ": there is no ext2, ext3 or ext4 file system on the disk" +
                                 (all.size() == 1 ? ", which has no partitions" : " or in its " + std::to_string(all.size() - 1) + " partitions") + ". Of others, open views of both moments and compare these: 'predsnap view open'"};
    }
    return found;
}

void print(const FileSystemChanges& changes, int64_t limit) {
    const std::string name = changes.name();
    if (changes.state != State::compared) {
        std::printf("%s: the file system %s\n", name.c_str(),
                    changes.state == State::gone ? "is gone" : changes.state == State::made ? "was not there before" : "was made anew: it is another one");
        return;
    }
    std::printf("%s: %s file%s differ%s\n", name.c_str(), show_count(changes.files.size()).c_str(), changes.files.size() == 1 ? "" : "s", changes.files.size() == 1 ? "s" : "");
    int64_t left = limit;
    for (const FileChange& file : changes.files) {
        if (limit > 0 && left-- == 0) {
            std::printf("... and %s more: --limit 0\n", show_count(changes.files.size() - static_cast<size_t>(limit)).c_str());
            break;
        }
        std::printf("  %-10s %10s  %s%s%s%s\n", word(file.kind), show_bytes(file.size).c_str(), file.path.c_str(), file.folder && file.path != "/" ? "/" : "",
                    file.before.empty() ? "" : ", before: ", file.before.c_str());
    }
}

}  // namespace predsnap
