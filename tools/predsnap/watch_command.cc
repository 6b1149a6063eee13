// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "activity.h"
#include "block/engine/text.h"
#include "commands.h"
#include "moment.h"
#include "options.h"
#include "show.h"
#include "target.h"
#include "terminal.h"
#include "virtual_machine.h"

namespace predsnap {
namespace {

constexpr int64_t kMicros = 1'000'000;
constexpr char kClear[] = "\033[H\033[2J";

struct Arguments {
    TargetOptions target;
    std::string interval = "2s", span = "10min";
    int64_t count = 0;
    bool json = false;
};

// What changes from look to look.
struct Look {
    int64_t time_us = 0;
    Json node;
    std::string machine;
    ActivityChart chart;
};

Result<Look> look(Target& target, int64_t span_us) {
    Look look{.time_us = g_get_real_time(), .node = {}, .machine = {}, .chart = {}};
    TRY_ASSIGN(look.node, target.query());
    TRY_ASSIGN(look.machine, VirtualMachine(target).status());
    TRY_ASSIGN(look.chart, ActivityChart::query(target, {look.time_us - span_us, look.time_us}, terminal_width() - 1));
    return look;
}

double rate(const Look& now, const Look& before, const char* counter) {
    const double span = static_cast<double>(now.time_us - before.time_us) / kMicros;
    return span > 0 ? (now.node["stats"][counter].number() - before.node["stats"][counter].number()) / span : 0;
}

void print_line(const char* what, const std::string& value) { std::printf("%-11s %s\n", what, value.c_str()); }

int64_t depth_us(const Json& node) {
    const Json begin = history_begin(node);
    return begin ? node["newest-point"].integer() - begin.integer() : 0;
}

void print(const Target& target, const Look& now, const Look& before, const Clock& clock) {
    const Json& node = now.node;
    const Json staging = node["staging"], threshold = node["threshold"];
    const double lookups = staging["hits"].number() + staging["misses"].number();
    std::printf("%s  %s%s\n\n", target.name().c_str(), show_time(now.time_us, clock).c_str(), now.machine == "none" ? "" : (", the machine is " + now.machine).c_str());
    print_line("sequence", show_count(static_cast<uint64_t>(node["sequence"].integer())) + (node["corrupt"].boolean() ? "   CORRUPTION WAS FOUND" : ""));
    print_line("history", show_span(depth_us(node)) + " deep, " + show_count(node["snapshots"].size()) + " snapshots, " +
                              show_count(static_cast<uint64_t>(node["history"]["streams"].integer())) + " streams of old history");
    print_line("log", show_rate(rate(now, before, "batch-bytes")) + ", " + show_count(static_cast<uint64_t>(rate(now, before, "points"))) + " points a second");
    const Json tiers = node["tiers"];
    for (size_t i = 0; i < tiers.size(); ++i) {
        print_line(i == 0 ? "image" : "", show_bytes(static_cast<uint64_t>(tiers[i]["used"].integer())) + " in use, " + tiers[i]["tier"].string() +
                                              (tiers[i]["full"].boolean() ? ", FULL" : ""));
    }
    print_line("staging", show_bytes(static_cast<uint64_t>(staging["used"].integer())) + " of " + show_bytes(static_cast<uint64_t>(staging["size"].integer())) +
                              (lookups > 0 ? ", hit rate " + show_count(static_cast<uint64_t>(staging["hits"].number() * 100 / lookups)) + " %" : ""));
    print_line("threshold", text("%.3g", threshold["value"].number()) + (threshold["adaptive"].boolean() ? ", adaptive" : ", fixed"));
    print_line("predicted", "by " + node["prediction"]["source"].string("the built-in rules"));
    if (!now.chart.empty()) {
        std::printf("\n");
        now.chart.print(clock);
    }
}

void print_json_line(const Target& target, const Look& now, const Look& before) {
    const Json& node = now.node;
    std::printf("%s\n", JsonMap()
                            .set("target", target.name())
                            .set("time", now.time_us)
                            .set("machine", now.machine)
                            .set("sequence", node["sequence"])
                            .set("history-us", depth_us(node))
                            .set("log-rate", rate(now, before, "batch-bytes"))
                            .set("point-rate", rate(now, before, "points"))
                            .set("tiers", node["tiers"])
                            .set("staging", node["staging"])
                            .set("threshold", node["threshold"]["value"])
                            .set("corrupt", node["corrupt"])
                            .done()
                            .text()
                            .c_str());
    std::fflush(stdout);
}

Result<void> watch(const Arguments& arguments) {
    TRY_ASSIGN(const int64_t interval, parse_span(arguments.interval));
    TRY_ASSIGN(const int64_t span, parse_span(arguments.span));
    if (interval < kMicros / 10 || span < kMicros) {
        return Error{EINVAL, "--interval is at least 100ms, --span at least 1s"};
    }
    catch_interrupts();
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::read));
    TRY_ASSIGN(Look before, look(*target, span));
    for (int64_t i = 0; !interrupted() && (arguments.count == 0 || i < arguments.count); ++i) {
        pause_us(i == 0 ? kMicros / 10 : interval);
        if (interrupted()) {
            break;
        }
        TRY_ASSIGN(Look now, look(*target, span));
        if (arguments.json) {
            print_json_line(*target, now, before);
        } else {
            std::printf("%s", output_is_terminal() ? kClear : i > 0 ? "\n" : "");
            print(*target, now, before, Clock::local());
            std::fflush(stdout);
        }
        before = std::move(now);
    }
    return {};
}

}  // namespace

int watch_command(int argc, char** argv) {
    Arguments arguments;
    Options options("watch TARGET", "Shows how a disk fares, until Ctrl-C. With --json, a line each time.");
    options.target(&arguments.target)
        .text("interval", &arguments.interval, "Time between two looks (2s)", "SPAN", 'i')
        .text("span", &arguments.span, "How far back the chart goes (10min)", "SPAN")
        .number("count", &arguments.count, "Stop after so many", "N", 'n')
        .json(&arguments.json);
    if (!options.parse(argc, argv) || !options.finish()) {
        return kMisused;
    }
    const Result<void> done = watch(arguments);
    return done.ok() ? 0 : fail("watch", done.error());
}

}  // namespace predsnap
