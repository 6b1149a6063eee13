// SPDX-License-Identifier: GPL-2.0-or-later
#include <cinttypes>
#include <cstdio>
#include <optional>
#include <vector>

#include "commands.h"
#include "diff_files.h"
#include "moment.h"
#include "options.h"
#include "show.h"
#include "target.h"
#include "terminal.h"

namespace predsnap {
namespace {

struct Arguments {
    TargetOptions target;
    std::string from, to;
    int64_t limit = 0;
    bool files = false, json = false;
};

struct Range {
    int64_t offset, length;
};
struct Difference {
    Json from, to;  // sequence, time, size
    std::vector<Range> ranges;
    int64_t bytes = 0;
    std::optional<std::vector<FileSystemChanges>> file_systems;  // if they were asked for
};

// What the two have in common at a page's border is one range.
void append(const Json& ranges, Difference* difference) {
    for (size_t i = 0; i < ranges.size(); ++i) {
        const Range range{ranges[i]["offset"].integer(), ranges[i]["length"].integer()};
        difference->bytes += range.length;
        if (!difference->ranges.empty() && difference->ranges.back().offset + difference->ranges.back().length == range.offset) {
            difference->ranges.back().length += range.length;
        } else {
            difference->ranges.push_back(range);
        }
    }
}

// Piece by piece, until all of the disk was looked at.
Result<Difference> compare(Target& target, const Json& from, const Json& to) {
    Difference difference;
    Progress progress;
    Json first = from, second = to;
    for (int64_t offset = 0;;) {
        JsonMap map;
        map.set("from", first).set("offset", offset);
        if (second) {
            map.set("to", second);
        }
        TRY_ASSIGN(const Json answer, target.execute("predsnap-query-changes", std::move(map)));
        append(answer["ranges"], &difference);
        difference.from = answer["from"];
        difference.to = answer["to"];
        if (!answer["next"]) {
            return difference;
        }
        if (interrupted()) {
            return Error{EINTR, "interrupted"};
        }
        offset = answer["next"].integer();
        progress.show("comparing", static_cast<double>(offset) / std::max(difference.to["size"].number(), 1.0));
        // The newest state moves on: what was compared first stays.
        first = JsonMap().set("sequence", difference.from["sequence"].integer()).done();
        second = JsonMap().set("sequence", difference.to["sequence"].integer()).done();
    }
}

void print(const Target& target, const Difference& difference, int64_t limit, const Clock& clock) {
    std::printf("%s: from %s to %s\n", target.name().c_str(), show_state(difference.from, clock).c_str(), show_state(difference.to, clock).c_str());
    std::printf("%s differ, in %s ranges\n", show_bytes(static_cast<uint64_t>(difference.bytes)).c_str(), show_count(difference.ranges.size()).c_str());
    if (difference.file_systems) {
        for (const FileSystemChanges& changes : *difference.file_systems) {
            print(changes, limit);
        }
        return;
    }
    if (!difference.ranges.empty()) {
        std::printf("%16s %14s\n", "OFFSET", "LENGTH");
    }
    int64_t left = limit;
    for (const Range& range : difference.ranges) {
        if (limit > 0 && left-- == 0) {
            std::printf("... and %s more: --limit 0\n", show_count(difference.ranges.size() - static_cast<size_t>(limit)).c_str());
            break;
        }
        std::printf("%16" PRId64 " %14" PRId64 "\n", range.offset, range.length);
    }
}

void print_json(const Target& target, const Difference& difference) {
    JsonList ranges;
    for (const Range& range : difference.ranges) {
        ranges.add(JsonMap().set("offset", range.offset).set("length", range.length).done());
    }
    JsonMap map;
    map.set("target", target.name()).set("from", difference.from).set("to", difference.to).set("bytes", difference.bytes).set("ranges", ranges.done());
    if (difference.file_systems) {
        JsonList file_systems;
        for (const FileSystemChanges& changes : *difference.file_systems) {
            file_systems.add(changes.json());
        }
        map.set("file-systems", file_systems.done());
    }
    print_json(map.done());
}

Result<void> find_files(Target& target, const TargetOptions& options, Difference* difference) {
    std::vector<ByteRange> ranges;
    for (const Range& range : difference->ranges) {
        ranges.push_back({static_cast<uint64_t>(range.offset), static_cast<uint64_t>(range.length)});
    }
    const int64_t from = difference->from["sequence"].integer(), to = difference->to["sequence"].integer();
    TRY_ASSIGN(difference->file_systems, changed_files(target, options, from, to, ranges));
    return {};
}

Result<void> diff(const Arguments& arguments) {
    const Clock clock = Clock::local();
    catch_interrupts();
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::read_content));
    TRY_ASSIGN(const Json node, target->query());
    TRY_ASSIGN(const Moment from, parse_moment(arguments.from, node, clock));
    Json to;
    if (!arguments.to.empty()) {
        TRY_ASSIGN(const Moment moment, parse_moment(arguments.to, node, clock));
        to = moment.json();
    }
    auto found = compare(*target, from.json(), to);
    if (!found.ok()) {
        return in_words(found.error(), node, clock);
    }
    if (arguments.files) {
        TRY(find_files(*target, arguments.target, &found.value()));
    }
    if (arguments.json) {
        print_json(*target, found.value());
    } else {
        print(*target, found.value(), arguments.limit, clock);
    }
    return {};
}

}  // namespace

int diff_command(int argc, char** argv) {
    Arguments arguments;
    arguments.limit = 50;
    Options options("diff TARGET MOMENT [MOMENT]",
                    std::string("Shows which parts of a disk differ between two states of it (the second: as it is now), to the sector. What was\n"
                                "written again as it was is no difference.\n\n") + kMomentHelp);
    options.target(&arguments.target)
        .flag("files", &arguments.files, "Say which files differ, of ext2, ext3 and ext4 (not their ranges)")
        .number("limit", &arguments.limit, "Print so many ranges, or files (50); 0: all", "N", 'n')
        .json(&arguments.json);
    if (!options.parse(argc, argv)) {
        return kMisused;
    }
    arguments.from = options.take();
    arguments.to = options.take();
    if (arguments.from.empty()) {
        return options.misused("from which moment on?");
    }
    if (!options.finish()) {
        return kMisused;
    }
    const Result<void> done = diff(arguments);
    return done.ok() ? 0 : fail("diff", done.error());
}

}  // namespace predsnap
