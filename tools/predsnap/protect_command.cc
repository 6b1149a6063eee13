// SPDX-License-Identifier: GPL-2.0-or-later
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <optional>

#include "commands.h"
#include "libvirt-hooks/files.h"
#include "libvirt-hooks/image.h"
#include "libvirt-hooks/node.h"
#include "libvirt-hooks/programs.h"
#include "options.h"
#include "protect_domain.h"
#include "protect_live.h"
#include "protect_xml.h"
#include "show.h"
#include "tools/virt/xml.h"

// The order of what is done makes each moment safe to be cut off at: the image is there before anything names it, and the persistent
// definition names it before the guest writes to it. Until the guest does the image is empty, so a start with it and one without it
// show the same disk. Run again, protect finds what is there and goes on.
namespace predsnap {
namespace {

using namespace protect;

constexpr int64_t kNotGiven = INT64_MIN;
constexpr unsigned long kNoRawNodes = 10'000'000;  // libvirt 10.0.0: plain raw disks have no node for the format any more

constexpr char kSummary[] =
    "Puts predsnap on a disk of a libvirt domain: from then on every flush of the guest is a moment to go back to. The disk's own\n"
    "file stays as it is, and is not written any more. Nothing happens to a disk that is protected already.\n\n"
    "Ways:  live    under the running guest, without a pause, and in the persistent definition (default where it runs)\n"
    "       start   in the persistent definition, so from the next start on (default where it does not run)\n"
    "       daemon  from the next start on, in a qemu-storage-daemon beside the distribution's QEMU; needs the hook";

struct Wish {
    std::string way, image, capacity, below;
    int64_t window_s = kNotGiven, bytes = kNotGiven, weight = kNotGiven;
    bool no_access_log = false, json = false;
};

std::optional<int64_t> given(int64_t number) {
    return number == kNotGiven ? std::nullopt : std::optional<int64_t>(number);
}

Result<std::string> way_of(const Work& work, const Wish& wish) {
    if (wish.way.empty()) {
        return std::string(work.domain.active() ? "live" : "start");
    }
    if (wish.way != "live" && wish.way != "start" && wish.way != "daemon") {
        return Error{EINVAL, "--way is live, start or daemon, not '" + wish.way + "'"};
    }
    if (wish.way == "live" && !work.domain.active()) {
        return Error{EINVAL, "the domain does not run: start it first, or use --way start"};
    }
    return wish.way;
}

// What the disk gets where nothing else is said.
hook::ProtectedDisk new_disk(const Work& work, const Wish& wish, bool daemon) {
    const hook::Disk& below = *work.definition.find_disk(work.target);
    hook::ProtectedDisk disk;
    disk.target = work.target;
    disk.way = daemon ? hook::Way::kDaemon : hook::Way::kNode;
    disk.node = "predsnap-" + work.target;
    disk.image = wish.image;
    if (disk.image.empty()) {
        const std::string folder = below.type == "file" ? hook::folder_of(below.source) : "/var/lib/libvirt/images";
        disk.image = folder + "/" + work.domain.name() + "-" + work.target + ".pds";
    }
    disk.capacity = wish.capacity;
    disk.window_s = given(wish.window_s);
    disk.history_bytes = given(wish.bytes);
    disk.weight = given(wish.weight);
    if (!wish.no_access_log) {
        disk.access_log = work.config.log + "/" + work.domain.name() + "/" + work.target + ".log";
    }
    if (daemon) {
        disk.base = below.source;
        disk.base_format = below.format.empty() ? "raw" : below.format;
    }
    return disk;
}

Result<void> check_wish(const Wish& wish, const hook::ProtectedDisk& present) {
    if (present.removing || present.leaving) {
        return Error{EBUSY, "predsnap is being taken off it, and that was cut off: finish it with predsnap unprotect"};
    }
    if ((!wish.image.empty() && wish.image != present.image) || (wish.way == "daemon") != (present.way == hook::Way::kDaemon)) {
        return Error{EEXIST, "it is protected already, with the image " + present.image + (present.way == hook::Way::kDaemon ?
                                 " and a storage daemon" : "") + ". To have it otherwise: predsnap unprotect, then protect"};
    }
    return {};
}

Result<void> check_source(const Work& work) {
    const hook::Disk& disk = *work.definition.find_disk(work.target);
    if ((disk.type != "file" && disk.type != "block") || disk.source.empty()) {
        return Error{ENOTSUP, "its source is of type " + disk.type + (disk.source.empty() ? ", and empty" : "") +
                                  "; protect knows files and block devices. Others take a node by hand: see predsnap-hook(8)"};
    }
    return {};
}

// An image that holds nothing yet may be taken, one with data may not: that is another disk's history.
Result<void> check_unused(const Work& work, const hook::ProtectedDisk& disk) {
    if (access(disk.image.c_str(), F_OK) != 0) {
        return {};
    }
    TRY_ASSIGN(const std::string qemu_img, work.config.program("qemu-img"));
    TRY_ASSIGN(const std::string printed,
               hook::run_program({qemu_img, "info", "-U", "--output=json", "-f", "predsnap", disk.image}));
    TRY_ASSIGN(const Json info, Json::parse(printed));
    const Json facts = info["format-specific"]["data"];
    if (facts["live-extents"].integer() != 0 || facts["snapshots"].integer() != 0) {
        return Error{EEXIST, "the image " + disk.image + " is there already and holds data: name another one with --image, or "
                                 "remove it if nobody needs it"};
    }
    return {};
}

// Whether libvirt has no node for the format of this disk. A running domain shows it, else libvirt's version tells.
Result<bool> is_storage_node(const Work& work, const hook::Disk& disk, const std::string& live_root) {
    if (live_root.starts_with("libvirt-")) {
        return live_root.ends_with("-storage");
    }
    unsigned long version = 0;
    if (virConnectGetLibVersion(work.connection.get(), &version) != 0) {
        return virt::failed("libvirt's version");
    }
    return (disk.format.empty() || disk.format == "raw") && version >= kNoRawNodes;
}

// libvirt counts the disks from the last one on, empty drives too, but not those that it opens nothing for.
Result<std::string> node_below(const Work& work, const Wish& wish, const std::string& live_root) {
    if (!wish.below.empty()) {
        return wish.below;
    }
    size_t number = 0;
    const hook::Disk* disk = work.definition.find_disk(work.target);
    for (const hook::Disk& other : work.definition.disks) {
        number += &other >= disk && other.type != "vhostuser" ? 1 : 0;
    }
    TRY_ASSIGN(const bool storage, is_storage_node(work, *disk, live_root));
    return "libvirt-" + std::to_string(number) + (storage ? "-storage" : "-format");
}

Result<bool> is_direct(const Work& work) {
    TRY_ASSIGN(const virt::XmlDocument document, virt::XmlDocument::parse(work.xml));
    const std::string cache =
        virt::attribute(document.first(("/domain/devices/disk[target/@dev='" + work.target + "']/driver").c_str()), "cache");
    return cache == "none" || cache == "directsync";
}

Result<std::string> edited_xml(const Work& work, const Wish& wish, const hook::ProtectedDisk& disk, const std::string& live_root) {
    if (disk.way == hook::Way::kDaemon) {
        return add_daemon(work.xml, disk, work.config.run + "/" + work.domain.name() + "/" + disk.target + ".sock");
    }
    TRY_ASSIGN(const std::string below, node_below(work, wish, live_root));
    TRY_ASSIGN(const bool direct, is_direct(work));
    return add_node(work.xml, disk, below, direct);
}

// As the hook will look at it before the next start.
Result<void> check_edited(const std::string& xml, const hook::ProtectedDisk& disk) {
    TRY_ASSIGN(const hook::Domain domain, hook::parse_domain(xml));
    return disk.way == hook::Way::kNode ? hook::check_node(domain, disk) : Result<void>();
}

// live_root: the node that the device is on now; empty if the domain does not run.
Result<void> make_persistent(Work& work, const Wish& wish, hook::ProtectedDisk& disk, const std::string& live_root,
                             bool unused_is_known) {
    TRY(check_source(work));
    if (!unused_is_known) {
        TRY(check_unused(work, disk));
    }
    // Before anything is made: whether the definition will do.
    TRY_ASSIGN(const hook::Owner owner, work.config.owner(work.definition));
    disk.uuid = "00000000-0000-0000-0000-000000000000";
    TRY_ASSIGN(const std::string checked, edited_xml(work, wish, disk, live_root));
    TRY(check_edited(checked, disk));
    disk.uuid.clear();
    TRY(hook::ensure_image(work.config, work.definition, disk, owner));
    TRY(hook::prepare_access_log(disk, owner));
    TRY_ASSIGN(const hook::ImageFacts facts, hook::read_image(disk.image));
    disk.uuid = facts.uuid;
    TRY_ASSIGN(const std::string edited, edited_xml(work, wish, disk, live_root));
    return work.define(edited);
}

struct Outcome {
    bool changed = false;
    bool live = false;
    hook::ProtectedDisk disk;
};

Result<Outcome> protect_disk(Work& work, const Wish& wish) {
    TRY_ASSIGN(const std::string way, way_of(work, wish));
    Outcome outcome;
    const bool was_there = work.protected_disk() != nullptr;
    outcome.disk = was_there ? *work.protected_disk() : new_disk(work, wish, way == "daemon");
    if (was_there) {
        TRY(check_wish(wish, outcome.disk));
    }
    std::optional<LiveDisk> live;
    if (way == "live" && outcome.disk.way == hook::Way::kNode) {
        virt::DomainMonitor monitor(work.domain);
        TRY_ASSIGN(const std::string alias, work.live_alias());
        TRY_ASSIGN(live, look(monitor, alias, outcome.disk));
        outcome.live = live->root == outcome.disk.node;
    }
    // An image that the guest has written to since is no longer empty; one that it never had must be.
    const bool in_use = live.has_value() && live->node_exists;
    if (was_there && live.has_value() && !in_use) {
        TRY(check_unused(work, outcome.disk));
    }
    if (!was_there) {
        TRY(make_persistent(work, wish, outcome.disk, live.has_value() ? live->root : "", in_use));
        outcome.changed = true;
    }
    if (live.has_value()) {
        virt::DomainMonitor monitor(work.domain);
        TRY(slide_in(monitor, *live, outcome.disk));
        TRY(work.publish_metadata());
        outcome.changed |= !outcome.live;
        outcome.live = true;
    }
    return outcome;
}

void print(const Work& work, const Outcome& outcome, bool json) {
    const hook::ProtectedDisk& disk = outcome.disk;
    if (json) {
        JsonMap map;
        map.set("domain", work.domain.name()).set("disk", disk.target).set("image", disk.image).set("uuid", disk.uuid);
        map.set("way", disk.way == hook::Way::kDaemon ? "daemon" : "node").set("node", disk.node);
        map.set("live", outcome.live).set("changed", outcome.changed);
        print_json(map.done());
        return;
    }
    std::printf("%s %s: image %s\n", work.name().c_str(), outcome.changed ? "is protected" : "was protected already",
                disk.image.c_str());
    if (!outcome.live) {
        std::printf("%s\n", work.domain.active() ? "It takes effect when the domain is shut down and started again."
                                                 : "It takes effect when the domain starts.");
    }
}

}  // namespace

int protect_command(int argc, char** argv) {
    TargetOptions target;
    Wish wish;
    Options options("protect DOMAIN[:DISK]", kSummary);
    domain_options(options, target)
        .text("way", &wish.way, "live, start or daemon (see above)", "WAY")
        .text("image", &wish.image, "Where history goes (default: beside the disk, DOMAIN-DISK.pds)", "FILE")
        .text("capacity", &wish.capacity, "Slower storage for old history, an empty file or device", "FILE")
        .number("window", &wish.window_s, "Keep all moments of the last so many seconds (default: all there are)", "SECONDS")
        .number("bytes", &wish.bytes, "History takes at most so much", "BYTES")
        .number("weight", &wish.weight, "How critical the application is, 0 to 10 (default 5)", "N")
        .flag("no-access-log", &wish.no_access_log, "Do not record requests for predsnapd")
        .text("below", &wish.below, "libvirt's node of the disk at the next start (default: found out)", "NODE")
        .json(&wish.json);
    if (!options.parse(argc, argv) || !take_domain(options, target) || !options.finish()) {
        return kMisused;
    }
    wish.image = absolute(wish.image);
    wish.capacity = absolute(wish.capacity);
    Result<Work> work = open_work(target);
    if (!work.ok()) {
        return fail("protect", work.error());
    }
    const Result<Outcome> outcome = protect_disk(work.value(), wish);
    if (!outcome.ok()) {
        return fail("protect", about(work.value(), outcome.error()));
    }
    print(work.value(), outcome.value(), wish.json);
    return 0;
}

}  // namespace predsnap
