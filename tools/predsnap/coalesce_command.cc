// SPDX-License-Identifier: GPL-2.0-or-later
#include <unistd.h>

#include <cstdio>

#include "commands.h"
#include "options.h"
#include "show.h"
#include "target.h"
#include "terminal.h"
#include "times.h"
#include "tools/qmp/jobs.h"

namespace predsnap {
namespace {

constexpr int64_t kLookEvery = 200'000;

struct Arguments {
    TargetOptions target;
    std::string until;
    bool yes = false, json = false;
};

struct Job {
    std::string id;
    double share = 0;  // of it that is done
    bool cancelled = false;
};

// Until the job is over. Ctrl-C ends it early; what it has done until then stays done.
Result<void> follow(Target& target, Job* job) {
    Progress progress;
    while (true) {
        TRY_ASSIGN(const Json status, qmp::find_job(target.monitor(), job->id));
        if (!status) {
            return {};
        }
        if (status["error"]) {
            return Error{EIO, target.name() + ": " + status["error"].string()};
        }
        const double total = status["total-progress"].number();
        job->share = total > 0 ? status["current-progress"].number() / total : 0;
        progress.show("coalescing", job->share);
        if (interrupted() && !job->cancelled) {
            TRY(target.plain("job-cancel", JsonMap().set("id", job->id).done()).discard());
            job->cancelled = true;
        }
        g_usleep(kLookEvery);
    }
}

int64_t used(const Json& node) {
    const Json tiers = node["tiers"];
    int64_t sum = 0;
    for (size_t i = 0; i < tiers.size(); ++i) {
        sum += tiers[i]["used"].integer();
    }
    return sum;
}

Result<void> coalesce(const Arguments& arguments) {
    const Clock clock = Clock::local();
    JsonMap map;
    std::string question;
    if (!arguments.until.empty()) {
        TRY_ASSIGN(const int64_t until, parse_time(arguments.until, clock));
        map.set("until", until);
        question = ": history up to " + show_time(until, clock) + " is dropped for good, but for snapshots and what the rules keep.";
    }
    catch_interrupts();
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::write));
    if (!question.empty()) {
        TRY(confirm(target->name() + question, arguments.yes));
    }
    TRY_ASSIGN(const Json before, target->query());
    Job job{.id = "predsnap-coalesce-" + std::to_string(::getpid())};
    TRY(target->execute("predsnap-coalesce", map.set("job-id", job.id).move()).discard());
    TRY(follow(*target, &job));
    TRY_ASSIGN(const Json after, target->query());
    if (arguments.json) {
        print_json(JsonMap().set("target", target->name()).set("cancelled", job.cancelled).set("used-before", used(before)).set("used-after", used(after)).done());
    } else {
        std::printf("%s: %s; %s in use, %s before\n", target->name().c_str(), job.cancelled ? "ended early, what was done stays done" : "coalesced",
                    show_bytes(static_cast<uint64_t>(used(after))).c_str(), show_bytes(static_cast<uint64_t>(used(before))).c_str());
    }
    return job.cancelled ? Result<void>(Error{EINTR, "interrupted"}) : Result<void>();
}

}  // namespace

int coalesce_command(int argc, char** argv) {
    Arguments arguments;
    Options options("coalesce TARGET",
                    "Drops what is not to be kept of history, merges what is left of it, and puts the disk in order, at once and to the\n"
                    "end; some of that happens in the background anyway. Ctrl-C ends it early without harm.");
    options.target(&arguments.target)
        .text("until", &arguments.until, "Drop all history up to this time, but for snapshots and what rules keep", "TIME")
        .flag("yes", &arguments.yes, "Do not ask (with --until)", 'y')
        .json(&arguments.json);
    if (!options.parse(argc, argv) || !options.finish()) {
        return kMisused;
    }
    const Result<void> done = coalesce(arguments);
    return done.ok() ? 0 : fail("coalesce", done.error());
}

}  // namespace predsnap
