// SPDX-License-Identifier: GPL-2.0-or-later
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "commands.h"
#include "moment.h"
#include "options.h"
#include "run_program.h"
#include "show.h"
#include "target.h"
#include "terminal.h"
#include "view_exports.h"
#include "views.h"

namespace predsnap {
namespace {

struct Arguments {
    TargetOptions target;
    std::string action, moment, id;
    std::string fuse, clone, socket;
    bool all = false, json = false;
};

// --- open ---

// Libvirt's QEMU runs as another user: whom the disk's image belongs to.
Result<void> give_to_machine(const Json& node, const std::string& file) {
    struct stat image {};
    if (::stat(node["image"]["filename"].string().c_str(), &image) == 0 && ::chown(file.c_str(), image.st_uid, image.st_gid) != 0) {
        return Error{errno, "'" + file + "' cannot be given to the user that the machine runs as: " + std::strerror(errno)};
    }
    return {};
}

Result<void> add_clone(Target& target, const ViewRecord& view, const Json& disk_node, int64_t size) {
    TRY_ASSIGN(const std::string program, find_qemu_program("qemu-img"));
    TRY_ASSIGN(const Ran ran, run_program({program, "create", "-q", "-f", "qcow2", view.file, std::to_string(size)}));
    if (ran.status != 0) {
        return Error{EIO, "'" + view.file + "' cannot be made: " + ran.errors};
    }
    if (target.domain()) {
        TRY(give_to_machine(disk_node, view.file));
    }
    const Json file = JsonMap().set("driver", "file").set("filename", view.file).done();
    const auto added = target.plain("blockdev-add", JsonMap()
                                                        .set("driver", "qcow2")
                                                        .set("node-name", view.clone_node())
                                                        .set("file", file)
                                                        .set("backing", view.view_node())
                                                        .done());
    if (!added.ok()) {
        ::unlink(view.file.c_str());
    }
    return added.discard();
}

Result<void> serve(Target& target, ViewRecord* view, const std::string& socket, const std::string& asked) {
    const Clock clock = Clock::local();
    TRY_ASSIGN(const Json node, target.query());
    TRY_ASSIGN(const Moment moment, parse_moment(asked, node, clock));
    TRY_ASSIGN(const Json state, find_state(target, node, moment, clock));
    view->moment = state;
    view->state = show_state(state, clock);
    TRY(target.plain("blockdev-add", JsonMap()
                                         .set("driver", "predsnap-view")
                                         .set("node-name", view->view_node())
                                         .set("chain", target.node())
                                         .set("sequence", state["sequence"].integer())
                                         .done())
            .discard());
    if (view->kind == "fuse") {
        return view->bridged ? export_fuse_by_bridge(target, view) : export_fuse(target, *view);
    }
    if (view->kind == "clone") {
        TRY_ASSIGN(const Json nodes, target.plain("query-named-block-nodes", JsonMap().set("flat", true).done()));
        int64_t size = 0;
        Json disk_node;
        for (size_t i = 0; i < nodes.size(); ++i) {
            if (nodes[i]["node-name"].string() == target.node()) {
                disk_node = nodes[i];
            }
            size = nodes[i]["node-name"].string() == view->view_node() ? nodes[i]["image"]["virtual-size"].integer() : size;
        }
        TRY(add_clone(target, *view, disk_node, size));
    }
    return export_nbd(target, view, socket);
}

void print_opened(const ViewRecord& view) {
    std::printf("%s: %s as it was at %s\n", view.id.c_str(), view.name.c_str(), view.state.c_str());
    if (view.kind == "fuse") {
        // What a running guest has mounted has a journal to replay, and the kernel refuses to mount that read-only otherwise.
        std::printf("is the file %s, read-only\n  mount -o loop,ro,norecovery %s /mnt   (ext4, XFS; of partitions: losetup -rfP --show FILE)\n",
                    view.file.c_str(), view.file.c_str());
    } else {
        std::printf("is served, %s, at\n  %s\n", view.kind == "clone" ? "writable" : "read-only", view.url().c_str());
        if (view.kind == "clone") {
            std::printf("What is written to it goes to %s.\n", view.file.c_str());
        }
    }
    std::printf("Take it down with: predsnap view close %s\n", view.id.c_str());
}

// What the user wants, before anything is done about it.
Result<ViewRecord> wanted_view(const Arguments& arguments) {
    ViewRecord view;
    view.kind = !arguments.fuse.empty() ? "fuse" : !arguments.clone.empty() ? "clone" : "nbd";
    view.file = absolute(arguments.fuse + arguments.clone);
    view.target = arguments.target;
    view.target.image = absolute(view.target.image);
    view.target.capacity = absolute(view.target.capacity);
    view.target.qmp = absolute(view.target.qmp);
    view.background = !view.target.image.empty();
    view.bridged = view.kind == "fuse" && !view.target.domain.empty();
    if (view.background && ::access(view.target.image.c_str(), F_OK) != 0) {
        return Error{errno, "image '" + arguments.target.image + "': " + std::strerror(errno)};
    }
    if (!view.file.empty() && ::access(view.file.c_str(), F_OK) == 0) {
        return Error{EEXIST, "'" + view.file + "' is there already: " + (view.kind == "clone" ? "what is written to the clone goes to" : "the view becomes") +
                                 " a new file"};
    }
    return view;
}

Result<std::unique_ptr<Target>> open_target(const ViewRecord& view) {
    if (!view.background) {
        return Target::open(view.target, Need::read_content);
    }
    TRY_ASSIGN(const std::string path, view_path(view.id));
    return Target::open_in_background(view.target, path);
}

// Takes down what there is of it. Without a target, only what is not in the target's process.
void undo(std::unique_ptr<Target> target, const ViewRecord& view) {
    if (view.background) {
        target.reset();  // a monitor has one client at a time
    }
    if (view.bridged || view.background) {
        end_daemon(view);
    }
    if (target != nullptr) {
        take_down(*target, view);
    }
    remove_file(view);
    forget_view(view.id);
}

Result<void> open(const Arguments& arguments) {
    TRY_ASSIGN(ViewRecord view, wanted_view(arguments));
    TRY(reserve_view(&view));
    auto target = open_target(view);
    if (!target.ok()) {
        undo(nullptr, view);
        return target.error();
    }
    view.name = target.value()->name();
    view.target.node = view.background ? "" : target.value()->node();
    Result<void> done = save_view(view);
    if (done.ok()) {
        done = serve(*target.value(), &view, absolute(arguments.socket), arguments.moment);
    }
    if (done.ok()) {
        done = save_view(view);
    }
    if (!done.ok()) {
        undo(target.take(), view);
        return done;
    }
    if (arguments.json) {
        print_json(view.json());
    } else {
        print_opened(view);
    }
    return {};
}

// --- list and close ---

Result<void> list(bool json) {
    TRY_ASSIGN(const std::vector<ViewRecord> views, load_views());
    if (json) {
        JsonList all;
        for (const ViewRecord& view : views) {
            JsonMap served;
            const Json record = view.json();
            for (const std::string& name : record.members()) {
                served.set(name.c_str(), record[name.c_str()]);
            }
            all.add(served.set("served", view.is_served()).done());
        }
        print_json(all.done());
        return {};
    }
    for (const ViewRecord& view : views) {
        std::printf("%-4s %-6s %s, %s\n            %s%s\n", view.id.c_str(), view.kind.c_str(), view.name.c_str(), view.state.c_str(),
                    (view.kind == "fuse" ? view.file : view.url()).c_str(), view.is_served() ? "" : "  (gone: nobody serves it any more)");
    }
    return {};
}

Result<void> close(const ViewRecord& view) {
    if (view.background) {
        undo(nullptr, view);
        return {};
    }
    auto target = Target::open(view.target, Need::read);
    if (!target.ok() && view.is_served()) {
        return target.error();
    }
    undo(target.ok() ? target.take() : nullptr, view);
    return {};
}

Result<void> close(const Arguments& arguments) {
    TRY_ASSIGN(const std::vector<ViewRecord> views, load_views());
    JsonList closed;
    size_t count = 0;
    for (const ViewRecord& view : views) {
        if (arguments.all || view.id == arguments.id) {
            TRY(close(view));
            closed.add(view.id);
            ++count;
            if (!arguments.json) {
                std::printf("%s is closed%s\n", view.id.c_str(), view.kind == "clone" ? (": " + view.file + " has what was written to it").c_str() : "");
            }
        }
    }
    if (count == 0 && !arguments.all) {
        return Error{ENOENT, "there is no view '" + arguments.id + "': 'predsnap view list'"};
    }
    if (arguments.json) {
        print_json(closed.done());
    }
    return {};
}

}  // namespace

int view_command(int argc, char** argv) {
    Arguments arguments;
    Options options("view open TARGET MOMENT | view list | view close ID",
                    std::string("Shows a disk as it was at a moment, while the guest works on: over NBD, read-only, if nothing else is said. It is there\n"
                                "until it is closed.\n\n") + kMomentHelp);
    options.word(&arguments.action)
        .target(&arguments.target)
        .text("fuse", &arguments.fuse, "open: as this file, which is made", "FILE")
        .text("clone", &arguments.clone, "open: writable, over NBD; what is written goes to this qcow2 file, which is made", "FILE")
        .text("socket", &arguments.socket, "open: the NBD socket", "PATH")
        .flag("all", &arguments.all, "close: all views")
        .json(&arguments.json);
    const bool opens = argc > 1 && std::strcmp(argv[1], "open") == 0;
    options.optional_target(!opens);
    if (!options.parse(argc, argv)) {
        return kMisused;
    }
    if (arguments.action != "open" && arguments.action != "list" && arguments.action != "close") {
        return options.misused("say open, list or close");
    }
    if (opens) {
        arguments.moment = options.take();
    } else if (arguments.action == "close") {
        arguments.id = options.take();
    }
    if (!options.finish()) {
        return kMisused;
    }
    if (opens && (arguments.moment.empty() || (!arguments.fuse.empty() && !arguments.clone.empty()))) {
        return options.misused(arguments.moment.empty() ? "which moment?" : "--fuse and --clone exclude each other");
    }
    if (arguments.action == "close" && arguments.id.empty() == !arguments.all) {
        return options.misused("say which view, or --all");
    }
    const Result<void> done = opens ? open(arguments) : arguments.action == "list" ? list(arguments.json) : close(arguments);
    return done.ok() ? 0 : fail("view", done.error());
}

}  // namespace predsnap
