// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cstdio>

#include "activity.h"
#include "commands.h"
#include "moment.h"
#include "options.h"
#include "show.h"
#include "target.h"
#include "terminal.h"

namespace predsnap {
namespace {

constexpr int64_t kShown = 20, kShownAround = 10;
constexpr int64_t kAll = INT64_MAX;
// How far ahead points after a moment are looked for at first; ten times as far next.
constexpr int64_t kAhead = 10'000'000;

struct Arguments {
    TargetOptions target;
    std::string since, until, around;
    int64_t limit = -1;  // not given
    bool json = false;
};

struct Listing {
    std::vector<Json> points;  // in order of sequence numbers
    int64_t marked = -1;       // the sequence number of the one that --around leads to
};

const char* what_made(const Json& point) {
    return point["flush"].boolean() ? "flush" : "interval";
}

void print_point(const Json& point, int64_t marked, const Clock& clock, bool dated) {
    const std::string snapshot = point["snapshot"] ? "snapshot '" + point["snapshot"].string() + "'" : "";
    const int64_t time = point["time"].integer(), sequence = point["sequence"].integer();
    std::printf("%c %-23s %12s  %-8s %10s", sequence == marked ? '>' : ' ', show_time(time, clock, !dated).c_str(),
                std::to_string(sequence).c_str(), what_made(point), show_bytes(static_cast<uint64_t>(point["bytes-changed"].integer())).c_str());
    if (const int64_t branch = point["branch"].integer(); branch > 0) {
        std::printf("  branch %lld", static_cast<long long>(branch));
    }
    std::printf("%s%s\n", snapshot.empty() ? "" : "  ", snapshot.c_str());
}

void print_onset(const Onset& onset, const Clock& clock) {
    std::printf("The rate of change jumps at %s, from %s to %s.\n", show_time(onset.time_us, clock).c_str(),
                show_rate(onset.before).c_str(), show_rate(onset.after).c_str());
    if (onset.last_good) {
        std::printf("  The last point before: sequence %lld, %s\n", static_cast<long long>(*onset.last_good),
                    show_time(onset.last_good_us, clock).c_str());
    }
}

Json onset_json(const Onset& onset) {
    JsonMap map;
    map.set("time", onset.time_us).set("rate-before", onset.before).set("rate-after", onset.after);
    if (onset.last_good) {
        map.set("last-point-before", *onset.last_good).set("last-time-before", onset.last_good_us);
    }
    return map.done();
}

Result<Json> query(Target& target, const Span& span, int64_t limit) {
    return target.execute("predsnap-query-points", span.arguments().set("limit", limit).move());
}

// Points on both sides of a moment.
Result<Listing> list_around(Target& target, int64_t moment_us, int64_t count, const Clock& clock) {
    TRY_ASSIGN(const Json before, query(target, {{}, moment_us}, count));
    Listing listing;
    for (size_t i = 0; i < before.size(); ++i) {
        listing.points.push_back(before[i]);
        listing.marked = before[i]["sequence"].integer();
    }
    Json after;
    for (int64_t ahead = kAhead; after.size() < static_cast<size_t>(count); ahead *= 10) {
        TRY_ASSIGN(after, query(target, {moment_us + 1, moment_us + ahead}, kAll));
        if (moment_us + ahead > clock.now_us()) {
            break;
        }
    }
    for (size_t i = 0; i < std::min(after.size(), static_cast<size_t>(count)); ++i) {
        listing.points.push_back(after[i]);
    }
    return listing;
}

Result<Listing> list(Target& target, const Span& span, int64_t limit) {
    TRY_ASSIGN(const Json points, query(target, span, limit));
    Listing listing;
    for (size_t i = 0; i < points.size(); ++i) {
        listing.points.push_back(points[i]);
    }
    return listing;
}

void print_text(const Target& target, const ActivityChart& chart, const std::vector<Onset>& onsets, const Listing& listing,
                const Clock& clock) {
    std::printf("%s: %s point%s, %s changed\n", target.name().c_str(), show_count(chart.points()).c_str(), chart.points() == 1 ? "" : "s",
                show_bytes(chart.bytes_changed()).c_str());
    if (chart.empty()) {
        return;
    }
    std::printf("from %s to %s (%s)\n\n", show_time(chart.since_us(), clock).c_str(), show_time(chart.until_us(), clock).c_str(),
                show_span(chart.until_us() - chart.since_us()).c_str());
    chart.print(clock);
    std::printf("\n");
    for (const Onset& onset : onsets) {
        print_onset(onset, clock);
    }
    std::printf("%s  %-23s %12s  %-8s %10s\n", onsets.empty() ? "" : "\n", "TIME", "SEQUENCE", "MADE BY", "CHANGED");
    const bool dated = std::any_of(listing.points.begin(), listing.points.end(), [&](const Json& point) {
        return show_time(point["time"].integer(), clock, true).size() > sizeof("00:00:00.000");
    });
    for (const Json& point : listing.points) {
        print_point(point, listing.marked, clock, dated);
    }
    if (listing.points.size() < chart.points() && listing.marked < 0) {
        std::printf("  ... and %s before: --limit N, --until TIME, --around TIME\n", show_count(chart.points() - listing.points.size()).c_str());
    }
}

void print_all_json(const Target& target, const ActivityChart& chart, const std::vector<Onset>& onsets, const Listing& listing) {
    JsonMap map;
    map.set("target", target.name()).set("node-name", target.node()).set("activity", chart.json());
    JsonList jumps, points;
    for (const Onset& onset : onsets) {
        jumps.add(onset_json(onset));
    }
    for (const Json& point : listing.points) {
        points.add(point);
    }
    map.set("jumps", jumps.done()).set("points", points.done());
    if (listing.marked >= 0) {
        map.set("around", listing.marked);
    }
    print_json(map.done());
}

Result<void> set_time(const std::string& text, const Clock& clock, std::optional<int64_t>* time) {
    if (!text.empty()) {
        TRY_ASSIGN(*time, parse_time(text, clock));
    }
    return {};
}

// What history covers must be said to who looks elsewhere.
Result<void> require_history(const Json& node, const Span& span, const Clock& clock) {
    const Json newest = node["newest-point"], begin = history_begin(node);
    const bool late = span.since_us && newest && *span.since_us > newest.integer();
    const bool early = span.until_us && begin && *span.until_us < begin.integer() && node["snapshots"].size() == 0;
    if (late || early) {
        const int64_t asked = late ? *span.since_us : *span.until_us;
        return Error{ENOENT, "there are no points " + std::string(late ? "after " : "before ") + show_time(asked, clock) + ": the history goes " +
                                 covered(node, clock)};
    }
    return {};
}

// Since the newest point nothing has changed: a moment after it, but not one to come, leads back to it.
Span span_of(int64_t moment_us, const Json& node, const Clock& clock) {
    const Json newest = node["newest-point"];
    const int64_t at_us = newest && moment_us <= clock.now_us() ? std::min(moment_us, newest.integer()) : moment_us;
    return {at_us, at_us};
}

Result<void> points(const Arguments& arguments) {
    const Clock clock = Clock::local();
    Span span;
    std::optional<int64_t> around;
    TRY(set_time(arguments.since, clock, &span.since_us));
    TRY(set_time(arguments.until, clock, &span.until_us));
    TRY(set_time(arguments.around, clock, &around));
    if (span.since_us && span.until_us && *span.since_us > *span.until_us) {
        return Error{EINVAL, "--since lies after --until"};
    }
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::read));
    TRY_ASSIGN(const Json node, target->query());
    TRY(require_history(node, around ? span_of(*around, node, clock) : span, clock));
    TRY_ASSIGN(const ActivityChart chart, ActivityChart::query(*target, span, terminal_width() - 1));
    TRY_ASSIGN(const std::vector<Onset> onsets, find_onsets(*target, chart));
    const int64_t limit = arguments.limit == 0 ? kAll : arguments.limit;
    TRY_ASSIGN(const Listing listing, around ? list_around(*target, *around, limit < 0 ? kShownAround : limit, clock)
                                             : list(*target, span, limit < 0 ? kShown : limit));
    if (arguments.json) {
        print_all_json(*target, chart, onsets, listing);
    } else {
        print_text(*target, chart, onsets, listing, clock);
    }
    return {};
}

}  // namespace

int points_command(int argc, char** argv) {
    Arguments arguments;
    Options options("points TARGET",
                    "Lists the points a disk can be taken back to, under a line that shows how much changed when, and says where\n"
                    "the rate of change jumps. Of the points, the newest are listed.\n\n"
                    "TIME is local ('2026-11-20 14:32', 14:32, 'yesterday 14:32'), or with a zone (2026-11-20T14:32+01:00), or -2h,\n"
                    "'10 minutes ago', @MICROSECONDS since the epoch.");
    options.target(&arguments.target)
        .text("since", &arguments.since, "Only from this time on", "TIME")
        .text("until", &arguments.until, "Only up to this time", "TIME")
        .text("around", &arguments.around, "List points on both sides of this time; > is the one it leads back to", "TIME")
        .number("limit", &arguments.limit, "List so many points (20; 10 on each side); 0: all", "N", 'n')
        .json(&arguments.json);
    if (!options.parse(argc, argv) || !options.finish()) {
        return kMisused;
    }
    if (arguments.limit < -1 || (!arguments.around.empty() && !(arguments.since + arguments.until).empty())) {
        return options.misused("--limit is not negative, and --around stands alone");
    }
    const Result<void> done = points(arguments);
    return done.ok() ? 0 : fail("points", done.error());
}

}  // namespace predsnap
