// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>

#include <cstdio>

#include "commands.h"
#include "libvirt-hooks/files.h"
#include "options.h"
#include "protect_domain.h"
#include "protect_live.h"
#include "protect_xml.h"
#include "run_program.h"
#include "show.h"
#include "terminal.h"

// The guest's newest data is in the image until it is merged, and in the disk below as soon as the guest is on that: a start in the
// wrong one would show an old disk. So the definition says first that predsnap is being taken off (the hook then lets nothing start),
// and the guest is paused from when both are the same until the definition is restored. Run again, unprotect goes on.
namespace predsnap {
namespace {

using namespace protect;

constexpr char kSummary[] =
    "Takes predsnap off a disk of a libvirt domain. The disk stays as it is now: what the guest wrote is merged into the disk below,\n"
    "under the running guest or not, and the definition is restored. The history is gone then. A running guest is paused for a\n"
    "moment at the end. If it is cut off, run it again before anything else.";

struct Wish {
    bool keep_image = false, yes = false, json = false;
};

struct Outcome {
    bool changed = false;
    std::string image, capacity, access_log;
    int64_t paused_us = 0;
};

Result<void> define_state(Work& work, bool merged) {
    TRY_ASSIGN(const std::string marked, mark_removing(work.xml, work.target, merged));
    return work.define(marked);
}

Result<void> define_restored(Work& work) {
    TRY_ASSIGN(const std::string restored, restore(work.xml, *work.protected_disk()));
    return work.define(restored);
}

Result<void> define_forgotten(Work& work) {
    TRY_ASSIGN(const std::string forgotten, forget(work.xml, work.target));
    return work.define(forgotten);
}

// Paused until end(), if the guest ran.
class Pause {
  public:
    // cut_off: an earlier call was, so a pause that is found is taken for its.
    static Result<Pause> begin(const virt::Domain& domain, bool cut_off) {
        Pause pause(domain);
        pause.ours_ = cut_off;
        if (!domain.paused()) {
            TRY(domain.pause());
            pause.ours_ = true;
        }
        return pause;
    }
    // Gives how long it was paused, in microseconds.
    Result<int64_t> end() {
        if (ours_) {
            TRY(domain_.resume());
        }
        return ours_ ? g_get_monotonic_time() - begin_us_ : 0;
    }

  private:
    explicit Pause(virt::Domain domain) : domain_(std::move(domain)), begin_us_(g_get_monotonic_time()) {}
    virt::Domain domain_;
    bool ours_ = false;
    int64_t begin_us_;
};

Result<void> pivot(Work& work, qmp::Monitor& monitor, const hook::ProtectedDisk& disk) {
    TRY(settle(monitor, disk));
    TRY(define_state(work, true));
    TRY(slide_out(monitor, disk));
    return define_restored(work);
}

Result<void> merge_all(qmp::Monitor& monitor, const LiveDisk& live, const hook::ProtectedDisk& disk) {
    Progress progress;
    return merge(monitor, live, disk, [&](int64_t done, int64_t all) {
        progress.show("merging", all > 0 ? static_cast<double>(done) / static_cast<double>(all) : 0);
    });
}

Result<void> merge_and_pivot(Work& work, qmp::Monitor& monitor, const LiveDisk& live, const hook::ProtectedDisk& disk, Outcome& outcome) {
    TRY(merge_all(monitor, live, disk));
    TRY_ASSIGN(Pause pause, Pause::begin(work.domain, disk.removing));
    const Result<void> done = pivot(work, monitor, disk);
    if (!done.ok() && work.protected_disk() != nullptr && work.protected_disk()->merged) {
        return Error{done.error().code, done.error().message + ". The domain is left paused: run unprotect again before you resume it"};
    }
    TRY_ASSIGN(outcome.paused_us, pause.end());
    return done;
}

Result<void> remove_live(Work& work, const hook::ProtectedDisk& disk, Outcome& outcome) {
    virt::DomainMonitor monitor(work.domain);
    TRY_ASSIGN(const std::string alias, work.live_alias());
    TRY(end_merge(monitor, disk));
    TRY_ASSIGN(LiveDisk live, look(monitor, alias, disk));
    if (live.root == disk.node || live.merging) {
        const Result<void> done = merge_and_pivot(work, monitor, live, disk, outcome);
        if (done.ok() || done.error().code != ECANCELED || !live.merging) {
            return done;
        }
        // An earlier call had told its merge to complete before it was cut off.
        TRY_ASSIGN(live, look(monitor, alias, disk));
        if (live.root == disk.node) {
            return merge_and_pivot(work, monitor, live, disk, outcome);
        }
    }
    // It never came to be, or an earlier call got so far.
    if (live.node_exists) {
        TRY(monitor.execute("blockdev-del", JsonMap().set("node-name", disk.node).done()));
    }
    return define_restored(work);
}

// Shows qemu-img's own progress on a terminal.
Result<void> commit_image(const Work& work, const hook::ProtectedDisk& disk, bool quiet) {
    TRY_ASSIGN(const std::string qemu_img, work.config.program("qemu-img"));
    const bool progress = !quiet && output_is_terminal();
    const std::vector<std::string> command = {qemu_img, "commit", progress ? "-p" : "-q", "-d", "-f", "predsnap", disk.image};
    TRY_ASSIGN(const Ran ran, run_program(command, progress ? Output::shown : Output::taken));
    if (ran.status == 0) {
        return {};
    }
    return Error{EIO, "merging " + disk.image + " into the disk below failed: " + (ran.errors.empty() ? "qemu-img was ended" : ran.errors)};
}

Result<void> remove_offline(Work& work, const hook::ProtectedDisk& disk, bool quiet) {
    if (!disk.merged) {
        TRY(commit_image(work, disk, quiet));
    }
    return define_restored(work);
}

Result<void> remove_files(const Outcome& outcome) {
    TRY(hook::remove_file(outcome.image));
    for (const std::string& file : {outcome.capacity, outcome.access_log, outcome.access_log + ".1"}) {
        TRY(file.starts_with("/") ? hook::remove_file(file) : Result<void>());
    }
    return {};
}

Result<Outcome> unprotect_disk(Work& work, const Wish& wish) {
    Outcome outcome;
    if (work.protected_disk() == nullptr) {
        return outcome;
    }
    const hook::ProtectedDisk disk = *work.protected_disk();
    const bool active = work.domain.active();
    if (disk.way == hook::Way::kDaemon && active && !disk.leaving) {
        return Error{EBUSY, "a disk that a storage daemon serves can be changed only while the domain is off: shut it down first"};
    }
    TRY(confirm(work.name() + ": predsnap is taken off. All its history will be gone; the disk stays as it is now.", wish.yes));
    if (!disk.removing && !disk.leaving) {
        TRY(define_state(work, false));
    }
    outcome.image = disk.image;
    outcome.capacity = disk.capacity;
    outcome.access_log = disk.access_log;
    if (!disk.leaving) {
        TRY(active ? remove_live(work, disk, outcome) : remove_offline(work, disk, wish.json));
    }
    if (active && disk.way == hook::Way::kNode && work.domain.paused() && (disk.removing || disk.leaving)) {
        TRY(work.domain.resume());  // an earlier call paused it
    }
    outcome.changed = true;
    if (!wish.keep_image) {
        TRY(remove_files(outcome));
    }
    TRY(define_forgotten(work));
    TRY(active ? work.publish_metadata() : Result<void>());
    return outcome;
}

void print(const Work& work, const Outcome& outcome, const Wish& wish) {
    if (wish.json) {
        JsonMap map;
        map.set("domain", work.domain.name()).set("disk", work.target).set("changed", outcome.changed);
        map.set("paused-us", outcome.paused_us);
        print_json(map.done());
    } else if (!outcome.changed) {
        std::printf("%s is not protected: nothing to do\n", work.name().c_str());
    } else {
        std::printf("%s is as it was before it was protected, with what the guest has written since\n", work.name().c_str());
        if (outcome.paused_us > 0) {
            std::printf("The guest was paused for %s.\n", show_span(outcome.paused_us).c_str());
        }
        if (wish.keep_image) {
            std::printf("%s is no use any more: where its history was empty, it showed a disk that has changed.\n",
                        outcome.image.c_str());
        }
    }
}

}  // namespace

int unprotect_command(int argc, char** argv) {
    TargetOptions target;
    Wish wish;
    Options options("unprotect DOMAIN[:DISK]", kSummary);
    domain_options(options, target)
        .flag("keep-image", &wish.keep_image, "Do not remove the image, its capacity image and its access log")
        .flag("yes", &wish.yes, "Do not ask", 'y')
        .json(&wish.json);
    if (!options.parse(argc, argv) || !take_domain(options, target) || !options.finish()) {
        return kMisused;
    }
    Result<Work> work = open_work(target);
    if (!work.ok()) {
        return fail("unprotect", work.error());
    }
    const Result<Outcome> outcome = unprotect_disk(work.value(), wish);
    if (!outcome.ok()) {
        return fail("unprotect", about(work.value(), outcome.error()));
    }
    print(work.value(), outcome.value(), wish);
    return 0;
}

}  // namespace predsnap
