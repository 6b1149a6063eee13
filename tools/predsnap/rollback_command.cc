// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "commands.h"
#include "moment.h"
#include "options.h"
#include "show.h"
#include "target.h"
#include "terminal.h"
#include "virtual_machine.h"

namespace predsnap {
namespace {

struct Arguments {
    TargetOptions target;
    std::string to;
    bool reset = false, stop = false, pause = false;
    bool yes = false, json = false;
};

// What becomes of a machine that runs, or is paused.
enum class After { none, resume, stay_paused, switch_off };

After choose(const Arguments& arguments, const std::string& status) {
    if (status == "none") {
        return After::none;
    }
    if (arguments.stop) {
        return After::switch_off;
    }
    return arguments.pause || (status != "running" && !arguments.reset) ? After::stay_paused : After::resume;
}

const char* in_words(After after) {
    switch (after) {
        case After::none:
            break;
        case After::resume:
            return "\nThe machine is reset and boots from what the disk is then; what the guest has not written is lost.";
        case After::stay_paused:
            return "\nThe machine is reset and stays paused; what the guest has not written is lost.";
        case After::switch_off:
            return "\nThe machine is switched off; what the guest has not written is lost.";
    }
    return "";
}

std::string question(const Target& target, const Json& node, const Json& state, After after, const Clock& clock) {
    std::string text = target.name() + " goes back to " + show_state(state, clock) + ".";
    const Json newest = node["newest-point"];
    if (newest && state["time"] && newest.integer() > state["time"].integer()) {
        text += "\nIt is left as it is at sequence " + std::to_string(node["sequence"].integer()) + ", " +
                show_span(newest.integer() - state["time"].integer()) + " later, which can be gone back to as well.";
    }
    return text + in_words(after);
}

Result<void> go_on(VirtualMachine& machine, After after) {
    switch (after) {
        case After::none:
            return {};
        case After::switch_off:
            return machine.switch_off();
        case After::stay_paused:
            return machine.reset();
        case After::resume:
            TRY(machine.reset());
            return machine.resume();
    }
    return {};
}

struct Done {
    Json answer;
    int64_t paused_us = 0, rollback_us = 0, after_us = 0;  // how long each step took
};

Result<Done> roll_back(Target& target, const Json& state, const std::string& status, After after) {
    VirtualMachine machine(target);
    const bool pauses = status == "running";
    Done done;
    const int64_t begin_us = g_get_monotonic_time();
    if (pauses) {
        TRY(machine.pause());
    }
    const int64_t paused_us = g_get_monotonic_time();
    const auto went = target.execute("predsnap-rollback", JsonMap().set("sequence", state["sequence"].integer()).move());
    if (!went.ok()) {
        if (pauses) {
            TRY(machine.resume());
        }
        return Error{went.error().code, went.error().message + (pauses ? " (nothing has changed, and the machine runs on)" : " (nothing has changed)")};
    }
    const int64_t back_us = g_get_monotonic_time();
    done.answer = went.value();
    const Result<void> gone_on = go_on(machine, after);
    if (!gone_on.ok()) {
        return Error{gone_on.error().code, "the disk was taken back from sequence " + std::to_string(done.answer["from"].integer()) +
                                               ", but then: " + gone_on.error().message};
    }
    done.paused_us = paused_us - begin_us;
    done.rollback_us = back_us - paused_us;
    done.after_us = g_get_monotonic_time() - back_us;
    return done;
}

void print(const Target& target, const Done& done, const Json& state, const std::string& undo, const Clock& clock) {
    std::printf("%s is as it was at %s (the rollback took %s", target.name().c_str(), show_state(state, clock).c_str(),
                show_span(done.rollback_us).c_str());
    if (done.after_us > 0 && target.is_live()) {
        std::printf(", what it took to pause and go on %s", show_span(done.paused_us + done.after_us).c_str());
    }
    std::printf(")\nUndo it with: %s\n", undo.c_str());
}

Result<void> rollback(const Arguments& arguments) {
    const Clock clock = Clock::local();
    TRY_ASSIGN(const auto target, Target::open(arguments.target, Need::write));
    TRY_ASSIGN(const Json node, target->query());
    TRY_ASSIGN(const Moment moment, parse_moment(arguments.to, node, clock));
    TRY_ASSIGN(const Json state, find_state(*target, node, moment, clock));
    VirtualMachine machine(*target);
    TRY_ASSIGN(const std::string status, machine.status());
    const After after = choose(arguments, status);
    TRY(confirm(question(*target, node, state, after, clock), arguments.yes));
    TRY_ASSIGN(const Done done, roll_back(*target, state, status, after));
    const std::string undo = "predsnap rollback " + target->words() + " --to " + std::to_string(done.answer["from"].integer());
    if (arguments.json) {
        print_json(JsonMap()
                       .set("target", target->name())
                       .set("from", done.answer["from"].integer())
                       .set("sequence", done.answer["sequence"].integer())
                       .set("time", done.answer["time"].integer())
                       .set("branch", done.answer["branch"].integer())
                       .set("size", done.answer["size"].integer())
                       .set("pause-us", done.paused_us)
                       .set("rollback-us", done.rollback_us)
                       .set("after-us", done.after_us)
                       .set("undo", undo)
                       .done());
    } else {
        print(*target, done, state, undo, clock);
    }
    return {};
}

}  // namespace

int rollback_command(int argc, char** argv) {
    Arguments arguments;
    Options options("rollback TARGET --to MOMENT", std::string(
        "Takes a disk back to what it was. A machine that runs is paused for that, then reset, and boots from what the disk\n"
        "is: it must not see its disk change. Nothing is lost: how to undo it is said.\n\n") + kMomentHelp);
    options.target(&arguments.target)
        .text("to", &arguments.to, "Where to go back to", "MOMENT", 't')
        .flag("reset", &arguments.reset, "Reset the machine and let it boot (what happens to one that runs)")
        .flag("pause", &arguments.pause, "Reset the machine, but leave it paused (what happens to one that is)")
        .flag("stop", &arguments.stop, "Switch the machine off")
        .flag("yes", &arguments.yes, "Do not ask", 'y')
        .json(&arguments.json);
    if (!options.parse(argc, argv) || !options.finish()) {
        return kMisused;
    }
    if (arguments.to.empty()) {
        return options.misused("--to says where to go back to");
    }
    if (static_cast<int>(arguments.reset) + static_cast<int>(arguments.pause) + static_cast<int>(arguments.stop) > 1) {
        return options.misused("--reset, --pause and --stop exclude each other");
    }
    const Result<void> done = rollback(arguments);
    return done.ok() ? 0 : fail("rollback", done.error());
}

}  // namespace predsnap
