// SPDX-License-Identifier: GPL-2.0-or-later
#include "evaluate_system.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "forecast_teller.h"
#include "tools/bench/bench_host.h"
#include "tools/replay/replay_run.h"

namespace predsnap::predict {
namespace {

// History that is kept in the meantime, so that there is something to put away: ten minutes of all, then a point a minute.
constexpr double kWindowS = 600;
constexpr int64_t kRuleEvery = 60'000'000, kRuleFor = 3'600'000'000;

constexpr size_t kRewrite = 0;  // of StagingStats::by_purpose

// A file that is gone in the end.
class ImageFile {
  public:
    explicit ImageFile(const std::string& folder) : path_(folder + "/predsnap-evaluate-XXXXXX") {
        const int fd = mkstemp(path_.data());
        good_ = fd >= 0;
        if (good_) {
            ::close(fd);
        }
    }
    ~ImageFile() { g_unlink(path_.c_str()); }
    bool good() const { return good_; }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    bool good_;
};

struct Tellers {
    std::unique_ptr<replay::Teller> told;
    ForecastTeller* forecast = nullptr;
};

Result<Tellers> make_teller(Policy policy, const replay::SourceOptions& source, const SystemOptions& options) {
    switch (policy) {
        case Policy::kLru:
            return Tellers{replay::make_teller(replay::Foresight::lru, source, options.horizon_us)};
        case Policy::kOracle:
            return Tellers{replay::make_teller(replay::Foresight::oracle, source, options.horizon_us)};
        case Policy::kNone:
        case Policy::kRules:
            return Tellers{};
        case Policy::kHeuristic:
        case Policy::kModel:
            break;
    }
    TRY_ASSIGN(replay::Source trace, replay::Source::open(source));
    Tellers made;
    auto teller = std::make_unique<ForecastTeller>(std::move(trace), policy == Policy::kModel, options.horizon_us);
    made.forecast = teller.get();
    made.told = std::move(teller);
    return made;
}

double share(uint64_t part, uint64_t whole) {
    return static_cast<double>(part) / static_cast<double>(std::max<uint64_t>(whole, 1));
}

SystemFigures figures_of(Policy policy, const replay::RunResult& run) {
    const EngineStats &stats = run.at_quiet.stats, &before = run.before;
    const uint64_t rewrites = run.fine.staging.by_purpose[kRewrite].hits - run.staging_before.by_purpose[kRewrite].hits;
    const uint64_t log = stats.batch_bytes - before.batch_bytes, moved = stats.moved_bytes - before.moved_bytes;
    const uint64_t written = run.client.writes.bytes();
    SystemFigures figures{.policy = policy};
    figures.read_hits = share(run.staged_blocks, run.read_blocks);
    figures.rewrite_hits = share(rewrites, run.written_blocks);
    figures.image_reads = run.guest_reads.requests;
    figures.log_bytes = share(log - std::min(log, moved), written);
    figures.copied_bytes = share(moved + stats.stream_bytes - before.stream_bytes, written);
    figures.written_bytes = share(run.at_quiet.written, written);
    figures.slow_read_p50_s = static_cast<double>(run.slow_reads.percentile(0.5)) * 1e-6;
    figures.slow_read_p99_s = static_cast<double>(run.slow_reads.percentile(0.99)) * 1e-6;
    figures.restore_s = run.restore.slow_seconds();
    return figures;
}

}  // namespace

std::string_view name_of(Policy policy) {
    static constexpr std::array<std::string_view, kPolicies.size()> kNames = {"none",      "lru",   "rules",
                                                                             "heuristic", "model", "oracle"};
    return kNames[static_cast<size_t>(policy)];
}

Result<SystemReport> evaluate_system(const std::string& trace, const SystemOptions& options) {
    SystemReport report;
    std::vector<SystemFigures>& all = report.policies;
    for (const Policy policy : kPolicies) {
        const ImageFile image(options.folder);
        if (!image.good()) {
            return Error{EIO, "no file for the replayed disk can be made in " + options.folder};
        }
        replay::RunOptions run;
        run.source.trace = trace;
        run.source.placement.align = options.align;
        run.source.placement.until_us = options.until_us;
        run.image = image.path();
        if (policy == kPolicies.front()) {
            TRY_ASSIGN(report.ideal, replay::ideal_caches(run.source, options.staging_bytes));
        }
        run.window_s = kWindowS;
        run.prefill = true;
        run.rules = {{kRuleEvery, kRuleFor}};
        run.open.fine.staging_bytes = policy == Policy::kNone ? 0 : options.staging_bytes;
        TRY_ASSIGN(const Tellers teller, make_teller(policy, run.source, options));
        bench::BenchHost host(0);  // all tasks take turns, in the same order each time
        host.run([&] { all.push_back(figures_of(policy, replay::ReplayRun(host, run, teller.told.get()).run())); });
        if (teller.forecast != nullptr) {
            all.back().ranges = teller.forecast->ranges_told();
            all.back().predict_s = teller.forecast->seconds();
        }
    }
    return report;
}

}  // namespace predsnap::predict
