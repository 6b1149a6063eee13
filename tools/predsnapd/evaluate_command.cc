// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>

#include <cmath>
#include <cstdio>
#include <cstring>

#include "commands.h"
#include "evaluate_text.h"

namespace predsnap::predict {
namespace {

constexpr char kSummary[] =
    "Runs over each trace (CSV, also in zstd) from its beginning to its end: trains on what is past, predicts what\n"
    "comes next, and measures the predictions by what came. The figures of all methods are of the same moments,\n"
    "from the first training on. `precision` is average precision over all moments and all chunks of 64 KiB that\n"
    "were accessed before; `each` its mean over single moments; `with new` counts chunks never accessed before, too;\n"
    "`at 5%` is the share of what came that is among the likeliest 5% of the chunks. `served` is what would have\n"
    "been told to the driver: the method that was best on the newest moments before.\n"
    "With --system each trace is then replayed on the engine, once for each policy: no staging cache, LRU, the driver's\n"
    "rules, the best heuristic, what the daemon would serve, the truth. Bytes are for each byte the guest wrote; `copied`\n"
    "is what cleaning and putting away old history wrote; `restore` the time to read, from a snapshot, what the guest\n"
    "used in the minute before it, on a disk of 500 requests and 100 MB a second.";

struct Arguments {
    gboolean json = FALSE;
    gchar* plot = nullptr;
    gchar* horizons = nullptr;
    gchar* operation = nullptr;
    gint threads = 1;
    gint train_every = 600;
    gint moments_max = 2000;
    gboolean as_daemon = FALSE;
    gboolean system = FALSE;
    gboolean only_system = FALSE;
    gboolean align = FALSE;
    gint64 staging_bytes = 64 << 20;
    gint until_s = 0;
    gchar* state = nullptr;
    gint from_s = -1;
    gchar* folder = nullptr;
    gchar** traces = nullptr;
};

// "10,60,600": for each, writes and reads, or only one of them.
bool parse_targets(const char* text, const char* operation, std::vector<Target>& targets) {
    targets.clear();
    const bool writes = operation == nullptr || std::strcmp(operation, "write") == 0;
    const bool reads = operation == nullptr || std::strcmp(operation, "read") == 0;
    if (!writes && !reads) {
        return false;
    }
    char** parts = g_strsplit(text, ",", -1);
    bool good = parts[0] != nullptr;
    for (char** part = parts; *part != nullptr && good; ++part) {
        guint64 seconds = 0;
        good = g_ascii_string_to_unsigned(*part, 10, 1, kHorizonMax / kSecond, &seconds, nullptr) != FALSE;
        const int64_t horizon_us = static_cast<int64_t>(seconds) * kSecond;
        if (writes) {
            targets.push_back({Op::kWrite, horizon_us});
        }
        if (reads) {
            targets.push_back({Op::kRead, horizon_us});
        }
    }
    g_strfreev(parts);
    return good;
}

bool parse(int argc, char** argv, Arguments& arguments) {
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &arguments.json, "Print JSON", nullptr},
        {"plot", 0, 0, G_OPTION_ARG_FILENAME, &arguments.plot, "Write SVG files to this folder", "DIR"},
        {"horizon", 0, 0, G_OPTION_ARG_STRING, &arguments.horizons, "Seconds ahead, 1 to 600 (60)", "S,..."},
        {"operation", 0, 0, G_OPTION_ARG_STRING, &arguments.operation, "Predict only 'write' or 'read' (both)", "OP"},
        {"train-every", 0, 0, G_OPTION_ARG_INT, &arguments.train_every, "Seconds of the trace between trainings (600)", "S"},
        {"moments", 0, 0, G_OPTION_ARG_INT, &arguments.moments_max, "Predict at most at so many moments (2000)", "N"},
        {"as-daemon", 0, 0, G_OPTION_ARG_NONE, &arguments.as_daemon, "Remember, and learn from, no more than the daemon does", nullptr},
        {"state", 0, 0, G_OPTION_ARG_FILENAME, &arguments.state, "Begin with the models of the most similar trace there, and leave one's own", "DIR"},
        {"from", 0, 0, G_OPTION_ARG_INT, &arguments.from_s, "Count all moments from then on (those at which there is a model)", "S"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &arguments.threads, "Threads of the training (1)", "N"},
        {"system", 0, 0, G_OPTION_ARG_NONE, &arguments.system, "Replay on the engine, too", nullptr},
        {"only-system", 0, 0, G_OPTION_ARG_NONE, &arguments.only_system, "Do nothing but that", nullptr},
        {"staging-bytes", 0, 0, G_OPTION_ARG_INT64, &arguments.staging_bytes, "Of the staging cache (64 MiB)", "N"},
        {"until", 0, 0, G_OPTION_ARG_INT, &arguments.until_s, "Replay only so much of the trace", "S"},
        {"align", 0, 0, G_OPTION_ARG_NONE, &arguments.align, "Mend a trace whose partition began at sector 63", nullptr},
        {"dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments.folder, "For the replayed disk (/var/tmp)", "DIR"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &arguments.traces, nullptr, "TRACE..."},
        {nullptr, 0, 0, G_OPTION_ARG_NONE, nullptr, nullptr, nullptr},
    };
    GOptionContext* context = g_option_context_new("- how well traces can be predicted");
    g_option_context_set_summary(context, kSummary);
    g_option_context_add_main_entries(context, entries, nullptr);
    GError* error = nullptr;
    const bool good = g_option_context_parse(context, &argc, &argv, &error) != FALSE;
    if (!good) {
        std::fprintf(stderr, "predsnapd evaluate: %s\n", error->message);
        g_error_free(error);
    } else if (arguments.traces == nullptr || arguments.train_every < 1 || arguments.moments_max < 1 ||
               arguments.threads < 1 || arguments.staging_bytes < 0 || arguments.until_s < 0) {
        std::fprintf(stderr, "usage: predsnapd evaluate TRACE... (see --help)\n");
    }
    g_option_context_free(context);
    return good && arguments.traces != nullptr && arguments.train_every >= 1 && arguments.moments_max >= 1 &&
           arguments.threads >= 1 && arguments.staging_bytes >= 0 && arguments.until_s >= 0;
}

int report_failure(const Error& error) {
    std::fprintf(stderr, "predsnapd evaluate: %s\n", error.message.c_str());
    return 1;
}

// Over the traces: how served predictions of one target compare with the best heuristic of each.
void print_means(const std::vector<TraceReport>& reports) {
    for (size_t target = 0; target < reports[0].targets.size(); ++target) {
        double logs = 0, least = 1e9;
        int count = 0;
        for (const TraceReport& report : reports) {
            const double ratio = report.targets[target].ratio(kServed);
            if (ratio > 0) {
                logs += std::log(ratio);
                least = std::min(least, ratio);
                ++count;
            }
        }
        if (count > 1) {
            const Target& of = reports[0].targets[target].target;
            std::printf("%s within %lld s, %d traces: served is %.3f x the best heuristic (geometric mean), at least %.3f\n",
                        of.op == Op::kWrite ? "written" : "read", static_cast<long long>(of.horizon_us / kSecond), count,
                        std::exp(logs / count), least);
        }
    }
}

Result<TraceReport> evaluate(const char* trace, const Arguments& arguments, const EvaluateOptions& options) {
    TraceReport report;
    report.path = trace;
    if (!arguments.only_system) {
        TRY_ASSIGN(report, evaluate(trace, options));
    }
    if (arguments.system || arguments.only_system) {
        SystemOptions system;
        system.staging_bytes = static_cast<uint64_t>(arguments.staging_bytes);
        system.horizon_us = options.targets.front().horizon_us;
        system.align = arguments.align != FALSE;
        system.until_us = arguments.until_s > 0 ? arguments.until_s * kSecond : system.until_us;
        system.folder = arguments.folder != nullptr ? arguments.folder : system.folder;
        TRY_ASSIGN(report.system, evaluate_system(trace, system));
    }
    return report;
}

int run(const Arguments& arguments, const EvaluateOptions& options) {
    std::vector<TraceReport> reports;
    for (char** trace = arguments.traces; *trace != nullptr; ++trace) {
        Result<TraceReport> report = evaluate(*trace, arguments, options);
        if (!report.ok()) {
            return report_failure(report.error());
        }
        if (arguments.plot != nullptr) {
            if (const Result<void> plotted = plot(report.value(), arguments.plot); !plotted.ok()) {
                return report_failure(plotted.error());
            }
        }
        if (!arguments.json) {
            print_text(report.value());
            std::fflush(stdout);
        }
        reports.push_back(report.take());
    }
    if (arguments.json) {
        std::printf("%s\n", to_json(reports).c_str());
    } else {
        if (!arguments.only_system) {
            print_means(reports);
        }
    }
    return 0;
}

}  // namespace

int evaluate_command(int argc, char** argv) {
    Arguments arguments;
    EvaluateOptions options;
    if (!parse(argc, argv, arguments)) {
        return 2;
    }
    const char* horizons = arguments.horizons != nullptr ? arguments.horizons : "60";
    if (!parse_targets(horizons, arguments.operation, options.targets)) {
        std::fprintf(stderr, "predsnapd evaluate: --horizon: seconds from 1 to 600, separated by commas; "
                             "--operation: write or read\n");
        return 2;
    }
    options.map = arguments.plot != nullptr;
    options.train_every_us = int64_t{arguments.train_every} * kSecond;
    options.moments_max = static_cast<size_t>(arguments.moments_max);
    options.as_daemon = arguments.as_daemon != FALSE;
    options.booster.threads = arguments.threads;
    options.state = arguments.state != nullptr ? arguments.state : "";
    options.from_us = arguments.from_s >= 0 ? arguments.from_s * kSecond : -1;
    const int status = run(arguments, options);
    g_free(arguments.plot);
    g_free(arguments.horizons);
    g_free(arguments.operation);
    g_free(arguments.folder);
    g_free(arguments.state);
    g_strfreev(arguments.traces);
    return status;
}

}  // namespace predsnap::predict
