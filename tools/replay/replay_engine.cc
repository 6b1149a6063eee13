// SPDX-License-Identifier: GPL-2.0-or-later
//
// Replays a trace on the engine alone, with a clock that follows the trace; prints what
// tools/bench/replay measures of a disk in QEMU, as JSON. See usage().
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>

#include "arguments.h"
#include "counting_device.h"
#include "engine_json.h"
#include "engine_player.h"
#include "foresight.h"
#include "tools/bench/bench_device.h"

namespace predsnap::replay {
namespace {

constexpr size_t kPointsVerified = 3;

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
        "  --points SECONDS    a snapshot after each so many seconds of the trace; 0: none (60)\n"
        "  --flush-every S     the guest flushes after each so many seconds of the trace; 0: only "
        "at points (5)\n"
        "  --depth N           requests at once at most (32)\n"
        "  --staging-bytes N   of the staging cache (64 MiB)\n"
        "  --foresight WHAT    what is known of the future: rules (only the built-in ones), lru (all "
        "reads are staged),\n"
        "                      oracle (what the next 60 s bring, told each 10 s) (rules)\n"
        "%s",
        kSourceUsage);
    std::exit(0);
}

struct Options {
    SourceOptions source;
    std::string image;
    double window_s = -1;
    std::vector<RetentionRule> rules;
    uint64_t bytes = 0;
    int64_t points_us = 60'000'000;
    int64_t flush_every_us = 5'000'000;
    uint64_t depth = 32;
    FineOptions fine;
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
    arguments.option("--staging-bytes", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.fine.staging_bytes, Arguments::whole(value, 0, UINT64_MAX));
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
    arguments.option("--rule", rule_into(options.rules));
    arguments.option("--points", seconds_into(options.points_us));
    arguments.option("--flush-every", seconds_into(options.flush_every_us));
    must(arguments.parse(argc, argv));
    if (options.image.empty()) {
        fail(Error{EINVAL, "--image is missing, see --help"});
    }
    return options;
}

// One replay, as a task of the host.
class Replay {
  public:
    Replay(bench::BenchHost& host, const Options& options)
        : host_(host),
          options_(options),
          source_(must(Source::open(options.source))),
          model_(source_.placement().disk_size(), options.source.content),
          teller_(options.foresight, must(Source::open(options.source))),
          file_(must(bench::FileDevice::open(host, options.image.c_str(), true))),
          device_(*file_) {}

    std::string run() {
        host_.set_clock(EnginePlayer::kBegin);
        create();
        EnginePlayer player(host_, *engine_, source_, model_, options_.flush_every_us,
                            options_.depth);
        const std::clock_t begin = std::clock();
        play(player);
        const std::clock_t end = std::clock();
        const State at_end = state();
        const std::string staging = to_json(engine_->fine_info());
        must(engine_->settle());
        host_.run_others();
        const State at_quiet = state();
        reopen();
        const std::string verified = verify_all();
        must(engine_->close());
        return report(player, at_end, at_quiet, verified, staging,
                      (end - begin) * 1'000'000 / CLOCKS_PER_SEC);
    }

  private:
    struct State {
        uint64_t space, written;
        std::string counters;
    };

    void create() {
        CreateOptions create;
        create.size = source_.placement().disk_size();
        must(Engine::create(host_, device_, create));
        OpenOptions open;
        open.fine = options_.fine;
        engine_ = must(Engine::open(host_, device_, open));
        Retention retention;
        if (options_.window_s >= 0) {
            retention.window_us = static_cast<int64_t>(options_.window_s * 1e6);
        }
        retention.rules = options_.rules;
        if (options_.bytes > 0) {
            retention.bytes = options_.bytes;
        }
        must(engine_->set_retention(retention));
        written_before_ = device_.written_bytes();
    }

    // What is verified is what the file holds.
    void reopen() {
        must(engine_->close());
        engine_.reset();
        engine_ = must(Engine::open(host_, device_, OpenOptions{}));
        const CheckResult result = must(engine_->check({}));
        if (result.corruptions > 0) {
            fail(Error{EIO, options_.image + ": " + result.findings.front()});
        }
    }

    void play(EnginePlayer& player) {
        const int64_t span_us = source_.placement().span_us();
        const int64_t step_us = options_.points_us > 0 ? options_.points_us : span_us + 1;
        const auto count = static_cast<uint64_t>(span_us / step_us + 1);
        const uint64_t sampling = std::max<uint64_t>(count / kPointsVerified, 1);
        for (uint64_t i = 1; i <= count; ++i) {
            must(play_until(player, static_cast<int64_t>(i) * step_us));
            if (options_.points_us > 0) {
                point("p" + std::to_string(i),
                      i % sampling == sampling / 2 && kept_.size() < kPointsVerified);
            }
            peak_ = std::max(peak_, must(file_->allocated()));
        }
    }

    Result<void> play_until(EnginePlayer& player, int64_t until_us) {
        while (options_.foresight != Foresight::rules && told_us_ + Teller::kTickUs <= until_us) {
            TRY(player.run(told_us_));
            TRY(teller_.tell(*engine_, told_us_));
            told_us_ += Teller::kTickUs;
        }
        return player.run(until_us);
    }

    void point(const std::string& name, bool keep) {
        SnapshotInfo wanted;
        wanted.name = name;
        static_cast<void>(must(engine_->snapshot_create(wanted)));
        host_.run_others();
        ++points_;
        if (keep) {
            kept_.emplace(name, model_);
        }
    }

    State state() const {
        return {must(file_->allocated()), device_.written_bytes() - written_before_,
                to_json(engine_->info(), engine_->stats())};
    }

    std::string verify_all() {
        JsonObject verified;
        verified.add(
            "now", must(verify([&](uint64_t offset,
                                   std::span<const iovec> to) { return engine_->read(offset, to); },
                               model_)));
        for (const auto& [name, model] : kept_) {
            Moment moment;
            moment.snapshot = name;
            const std::unique_ptr<View> view = must(engine_->open_view(moment));
            verified.add(name.c_str(), must(verify(
                                           [&](uint64_t offset, std::span<const iovec> to) {
                                               return view->read(offset, to);
                                           },
                                           model)));
        }
        return verified.text();
    }

    std::string report(const EnginePlayer& player, const State& end, const State& quiet,
                       const std::string& verified, const std::string& staging,
                       int64_t cpu_us) const {
        JsonObject space, written, counters, result;
        space.add("end", end.space)
            .add("quiet", quiet.space)
            .add("peak", std::max(peak_, quiet.space));
        written.add("end", end.written).add("quiet", quiet.written);
        counters.add_raw("end", end.counters).add_raw("quiet", quiet.counters);
        result.add("points", points_).add("cpu us", cpu_us);
        result.add_raw("space", space.text()).add_raw("written", written.text());
        result.add_raw("staging", staging);
        result.add_raw("counters", counters.text()).add_raw("client", player.measures().json());
        return result.add_raw("verified", verified).text();
    }

    bench::BenchHost& host_;
    const Options& options_;
    Source source_;
    DiskModel model_;
    Teller teller_;
    std::unique_ptr<bench::FileDevice> file_;
    CountingDevice device_;
    std::unique_ptr<Engine> engine_;
    std::map<std::string, DiskModel> kept_;
    uint64_t written_before_ = 0, peak_ = 0, points_ = 0;
    int64_t told_us_ = 0;
};

int main(int argc, char** argv) {
    const Options options = parse(argc, argv);
    bench::BenchHost host(
        0);  // its calls to the file block: all tasks take turns, in the same order each time
    host.run([&] { std::printf("%s\n", Replay(host, options).run().c_str()); });
    return host.reports() > 0 ? 1 : 0;
}

}  // namespace
}  // namespace predsnap::replay

int main(int argc, char** argv) {
    return predsnap::replay::main(argc, argv);
}
