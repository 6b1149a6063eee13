// SPDX-License-Identifier: GPL-2.0-or-later
//
// Replays a trace on the engine alone, with a clock that follows the trace; prints what
// tools/bench/replay measures of a disk in QEMU, as JSON. See usage().
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "arguments.h"
#include "replay_run.h"

namespace predsnap::replay {
namespace {

[[noreturn]] void usage() {
    std::printf(
        "usage: replay-engine TRACE --image PATH [OPTION...]\n\n"
        "Replays a trace of block I/O (CSV, also in zstd) on the engine alone, in a new image, "
        "with a clock that\n"
        "follows the trace. Verifies the disk and three points in the end. Prints JSON.\n\n"
        "  --image PATH        the image; made anew, and left there\n"
        "  --window SECONDS    of history that are kept, of the trace's time; 0: none, -1: all "
        "(-1)\n"
        "  --rule EVERY:FOR    of what is older, a point in each so many seconds is kept for so "
        "many; may be repeated\n"
        "  --bytes N           history takes at most so many bytes; 0: without limit (0)\n"
        "  --merge ORDER       which old history is merged first: saving, what frees the most for "
        "what is read; exact, the same\n"
        "                      with all indexes read; or age (saving)\n"
        "  --merge-rate N      merging reads at most so many of the guest's bytes a second of the "
        "trace; 0: no limit (0)\n"
        "  --level N           zstd's, of old history (1)\n"
        "  --pack-after S      data that was not written for so many seconds is compressed; -1: none is (-1)\n"
        "  --placement WHERE   of what is copied to make room: log, to its end, or apart, compressed (log)\n"
        "  --rest S            so long nothing happens after the trace (0)\n"
        "  --dictionary N      old history of so many frames is tried with a dictionary; 0: none is (128)\n"
        "  --points SECONDS    a snapshot after each so many seconds of the trace; 0: none (60)\n"
        "  --flush-every S     the guest flushes after each so many seconds of the trace; 0: only "
        "at points (5)\n"
        "  --depth N           requests at once at most (32)\n"
        "  --staging-bytes N   of the staging cache (64 MiB)\n"
        "  --foresight WHAT    what is known of the future: rules (only the built-in ones), lru (all "
        "reads are staged),\n"
        "                      oracle (what the next 60 s bring, told each 10 s) (rules)\n"
        "  --prefill           what the guest reads before it writes it is there when the trace begins, else it is a hole\n"
        "%s",
        kSourceUsage);
    std::exit(0);
}

struct Options : RunOptions {
    Foresight foresight = Foresight::rules;
};

Arguments::Take seconds_into(int64_t& us) {
    return [&us](std::string_view value) -> Result<void> {
        TRY_ASSIGN(const double seconds, Arguments::number(value, 0, 1e9));
        us = static_cast<int64_t>(seconds * 1e6);
        return {};
    };
}

Arguments::Take rule_into(std::vector<RetentionRule>& rules) {
    return [&rules](std::string_view value) -> Result<void> {
        const size_t colon = value.find(':');
        if (colon == std::string_view::npos) {
            return Error{EINVAL, "'" + std::string(value) + "' is not EVERY:FOR"};
        }
        TRY_ASSIGN(const double every_s, Arguments::number(value.substr(0, colon), 0, 1e9));
        TRY_ASSIGN(const double for_s, Arguments::number(value.substr(colon + 1), 0, 1e9));
        rules.push_back({static_cast<int64_t>(every_s * 1e6), static_cast<int64_t>(for_s * 1e6)});
        return {};
    };
}

Options parse(int argc, char** argv) {
    if (argc > 1 && std::strcmp(argv[1], "--help") == 0) {
        usage();
    }
    Options options;
    Arguments arguments(options.source);
    arguments.option("--image", [&](std::string_view value) -> Result<void> {
        options.image = value;
        return {};
    });
    arguments.option("--window", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.window_s, Arguments::number(value, -1, 1e9));
        return {};
    });
    arguments.option("--bytes", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.bytes, Arguments::whole(value, 0, UINT64_MAX));
        return {};
    });
    arguments.option("--depth", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.depth, Arguments::whole(value, 1, 1024));
        return {};
    });
    arguments.option("--merge", [&](std::string_view value) -> Result<void> {
        if (value != "saving" && value != "age" && value != "exact") {
            return Error{EINVAL, "'" + std::string(value) + "' is not saving, age or exact"};
        }
        options.open.merge_order = value == "age"     ? MergeOrder::age
                                   : value == "exact" ? MergeOrder::exact
                                                      : MergeOrder::saving;
        return {};
    });
    arguments.option("--merge-rate", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.open.coalesce_rate, Arguments::whole(value, 0, UINT64_MAX / 2));
        return {};
    });
    arguments.option("--level", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(const uint64_t level, Arguments::whole(value, 1, 19));
        options.open.compression_level = static_cast<int>(level);
        return {};
    });
    arguments.option("--dictionary", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.open.dictionary_frames, Arguments::whole(value, 0, UINT64_MAX));
        return {};
    });
    arguments.option("--pack-after", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(const double seconds, Arguments::number(value, -1, 1e9));
        options.open.pack_after_us = seconds < 0 ? -1 : static_cast<int64_t>(seconds * 1e6);
        return {};
    });
    arguments.option("--placement", [&](std::string_view value) -> Result<void> {
        if (value != "log" && value != "apart") {
            return Error{EINVAL, "it is log or apart"};
        }
        options.open.placement = value == "apart" ? predsnap::Placement::apart : predsnap::Placement::log;
        return {};
    });
    arguments.option("--rest", seconds_into(options.rest_us));
    arguments.option("--staging-bytes", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.open.fine.staging_bytes, Arguments::whole(value, 0, UINT64_MAX));
        return {};
    });
    arguments.option("--foresight", [&](std::string_view value) -> Result<void> {
        const std::optional<Foresight> foresight = parse_foresight(value);
        if (!foresight) {
            return Error{EINVAL, "'" + std::string(value) + "' is not rules, lru or oracle"};
        }
        options.foresight = *foresight;
        return {};
    });
    arguments.flag("--prefill", options.prefill);
    arguments.option("--rule", rule_into(options.rules));
    arguments.option("--points", seconds_into(options.points_us));
    arguments.option("--flush-every", seconds_into(options.flush_every_us));
    must(arguments.parse(argc, argv));
    if (options.image.empty()) {
        fail(Error{EINVAL, "--image is missing, see --help"});
    }
    return options;
}

int main(int argc, char** argv) {
    const Options options = parse(argc, argv);
    bench::BenchHost host(
        0);  // its calls to the file block: all tasks take turns, in the same order each time
    host.run([&] {
        const std::unique_ptr<Teller> teller = make_teller(options.foresight, options.source);
        std::printf("%s\n", ReplayRun(host, options, teller.get()).run().json().c_str());
    });
    return host.reports() > 0 ? 1 : 0;
}

}  // namespace
}  // namespace predsnap::replay

int main(int argc, char** argv) {
    return predsnap::replay::main(argc, argv);
}
