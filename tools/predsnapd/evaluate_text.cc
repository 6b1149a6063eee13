// SPDX-License-Identifier: GPL-2.0-or-later
#include "evaluate_text.h"

#include <cstdio>

namespace predsnap::predict {
namespace {

void print_target(const TargetReport& report) {
    std::printf("  %s within %lld s: %zu moments, %zu candidates, %zu came (base rate %.4f), %zu more never seen before\n",
                report.target.op == Op::kWrite ? "written" : "read",
                static_cast<long long>(report.target.horizon_us / kSecond), report.moments, report.ranked, report.came,
                report.base_rate, report.missed);
    std::printf("    %-12s %9s %9s %9s   %6s %6s %6s   %s\n", "", "precision", "each", "with new", "at 5%", "10%",
                "25%", "served");
    for (size_t i = 0; i < kMeasured; ++i) {
        const Quality& quality = report.quality[i];
        if (!quality.measured) {
            continue;
        }
        std::printf("    %-12s %9.4f %9.4f %9.4f   %6.3f %6.3f %6.3f   ",
                    std::string(measured_name(i)).c_str(), quality.average_precision, quality.moment_precision,
                    quality.average_precision_all, quality.recall[0], quality.recall[1], quality.recall[2]);
        if (i < kMethods) {
            std::printf("%zu\n", report.served[i]);
        } else {
            std::printf("%.3f x best heuristic; Brier %.5f, off by %.5f\n", report.ratio(i),
                        quality.calibration.brier(), quality.calibration.error());
        }
    }
    std::printf("    %-12s %9.4f %9.4f %9.4f   %6.3f %6.3f %6.3f\n", "oracle", 1.0, 1.0, report.oracle_all,
                report.oracle_recall[0], report.oracle_recall[1], report.oracle_recall[2]);
}

void print_ideal(const char* name, const replay::CacheHits& hits) {
    std::printf("    %-32s %14.4f %9.4f\n", name, hits.read_share(), hits.write_share());
}

void print_system(const SystemReport& system) {
    std::printf("  replayed on the engine%29s %9s %9s   %6s %7s %8s   %11s %9s   %8s %9s\n", "read hits", "rewrites", "reads",
                "log", "copied", "written", "slow p99", "restore", "told", "predicting");
    for (const SystemFigures& of : system.policies) {
        std::printf("    %-12s %34.4f %9.4f %9llu   %6.3f %7.3f %8.3f   %9.3f s %7.2f s   %8llu %8.1f s\n",
                    std::string(name_of(of.policy)).c_str(), of.read_hits, of.rewrite_hits,
                    static_cast<unsigned long long>(of.image_reads), of.log_bytes, of.copied_bytes, of.written_bytes,
                    of.slow_read_p99_s, of.restore_s, static_cast<unsigned long long>(of.ranges), of.predict_s);
    }
    print_ideal("a cache: least recently used", system.ideal.least_recent);
    print_ideal("a cache that knows the future", system.ideal.best);
}

}  // namespace

void print_text(const TraceReport& report) {
    std::printf("%s: %llu requests, %.0f s\n", report.path.c_str(), static_cast<unsigned long long>(report.requests),
                report.span_s);
    for (const TargetReport& target : report.targets) {
        print_target(target);
    }
    if (!report.system.policies.empty()) {
        print_system(report.system);
    }
    std::printf("  %zu trainings in %.1f s (%zu rows at last), requests observed and sampled in %.1f s, scored in "
                "%.1f s; %.1f MiB\n",
                report.trainings, report.train_s, report.rows, report.observe_s, report.score_s,
                static_cast<double>(report.memory_bytes) / (1 << 20));
}

}  // namespace predsnap::predict
