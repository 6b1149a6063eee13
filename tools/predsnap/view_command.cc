// SPDX-License-Identifier: GPL-2.0-or-later
#include <glob.h>
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

// Where the machine of a libvirt domain may make a socket: a folder that libvirt gave it.
std::string domain_folder(const virt::Domain& domain) {
    const std::string number = std::to_string(virDomainGetID(domain.get()));
    const std::string user = std::string(g_get_user_config_dir()) + "/libvirt/qemu/lib/domain-" + number + "-*";
    std::string folder;
    for (const std::string& pattern : {"/var/lib/libvirt/qemu/domain-" + number + "-*", user}) {
        glob_t found{};
        if (folder.empty() && ::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
            folder = found.gl_pathv[0];
        }
        ::globfree(&found);
    }
    return folder;
}

Result<std::string> choose_socket(const Target& target, const ViewRecord& view, const std::string& wanted) {
    if (!wanted.empty()) {
        return wanted;
    }
    const std::string folder = target.domain() ? domain_folder(*target.domain()) : "";
    if (!folder.empty()) {
        return folder + "/predsnap-views.nbd";
    }
    if (view.background) {
        TRY_ASSIGN(const std::string path, view_path(view.id));
        return path + ".nbd";
    }
    // Shared with later views of the same monitor, so not named after this one.
    TRY_ASSIGN(const std::string runtime, runtime_folder());
    char* name = g_compute_checksum_for_string(G_CHECKSUM_SHA256, (view.target.connect + view.target.domain + view.target.qmp).c_str(), -1);
    const std::string path = runtime + "/" + std::string(name).substr(0, 16) + ".nbd";
    g_free(name);
    return path;
}

bool same_target(const TargetOptions& a, const TargetOptions& b) {
    return a.domain == b.domain && a.connect == b.connect && a.qmp == b.qmp && a.image == b.image;
}

// A process has one NBD server: if views of it are served already, they share it.
Result<void> start_server(Target& target, ViewRecord* view, const std::string& wanted) {
    if (!view->background) {
        TRY_ASSIGN(const std::vector<ViewRecord> others, load_views());
        for (const ViewRecord& other : others) {
            if (!other.background && same_target(other.target, view->target) && !other.socket.empty() && other.is_served()) {
                view->socket = other.socket;
                view->own_server = other.own_server;
                return {};
            }
        }
    }
    TRY_ASSIGN(view->socket, choose_socket(target, *view, wanted));
    ::unlink(view->socket.c_str());  // what an earlier one left
    const Json address = JsonMap().set("type", "unix").set("data", JsonMap().set("path", view->socket).done()).done();
    const auto started = target.plain("nbd-server-start", JsonMap().set("addr", address).done());
    if (!started.ok() && started.error().message.find("already running") != std::string::npos) {
        return Error{EBUSY, target.name() + " has an NBD server already, which is not predsnap's: wait until what uses it is over, or use --fuse"};
    }
    view->own_server = started.ok();
    return started.discard();
}

Result<void> export_nbd(Target& target, ViewRecord* view, const std::string& socket) {
    TRY(start_server(target, view, socket));
    return target.plain("block-export-add", JsonMap()
                                                .set("type", "nbd")
                                                .set("id", view->node())
                                                .set("node-name", view->node())
                                                .set("name", view->id)
                                                .set("writable", view->kind == "clone")
                                                .done())
        .discard();
}

Result<void> export_fuse(Target& target, const ViewRecord& view) {
    if (::access(view.file.c_str(), F_OK) == 0) {
        return Error{EEXIST, "'" + view.file + "' is there already: the view becomes a new file"};
    }
    if (g_file_set_contents(view.file.c_str(), "", 0, nullptr) == FALSE) {
        return Error{EACCES, "'" + view.file + "' cannot be made"};
    }
    const auto exported = target.plain("block-export-add", JsonMap()
                                                               .set("type", "fuse")
                                                               .set("id", view.node())
                                                               .set("node-name", view.node())
                                                               .set("mountpoint", view.file)
                                                               .set("writable", false)
                                                               .done());
    if (!exported.ok()) {
        ::unlink(view.file.c_str());
    }
    if (!exported.ok() && target.domain()) {
        return Error{EPERM, exported.error().message + ": libvirt lets QEMU mount nothing. Open the view without --fuse, and make a file of its URL "
                                "with nbdfuse(1)"};
    }
    return exported.discard();
}

// Libvirt's QEMU runs as another user: whom the disk's image belongs to.
Result<void> give_to_machine(const Json& node, const std::string& file) {
    struct stat image {};
    if (::stat(node["image"]["filename"].string().c_str(), &image) == 0 && ::chown(file.c_str(), image.st_uid, image.st_gid) != 0) {
        return Error{errno, "'" + file + "' cannot be given to the user that the machine runs as: " + std::strerror(errno)};
    }
    return {};
}

Result<void> add_clone(Target& target, const ViewRecord& view, const Json& disk_node, int64_t size) {
    if (::access(view.file.c_str(), F_OK) == 0) {
        return Error{EEXIST, "'" + view.file + "' is there already: what is written to the clone goes to a new file"};
    }
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

Result<void> serve(Target& target, ViewRecord* view, const Arguments& arguments) {
    const Clock clock = Clock::local();
    TRY_ASSIGN(const Json node, target.query());
    TRY_ASSIGN(const Moment moment, parse_moment(arguments.moment, node, clock));
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
        return export_fuse(target, *view);
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
    return export_nbd(target, view, arguments.socket);
}

// Undoes what was done of it, as far as it was.
void take_down(Target& target, const ViewRecord& view) {
    static_cast<void>(target.plain("block-export-del", JsonMap().set("id", view.node()).set("mode", "hard").done()));
    for (int i = 0; i < 100; ++i) {
        const auto exports = target.plain("query-block-exports");
        bool there = false;
        for (size_t k = 0; exports.ok() && k < exports.value().size(); ++k) {
            there = there || exports.value()[k]["id"].string() == view.node();
        }
        if (!there) {
            break;
        }
        g_usleep(10'000);
    }
    for (const std::string& node : {view.clone_node(), view.view_node()}) {
        static_cast<void>(target.plain("blockdev-del", JsonMap().set("node-name", node).done()));
    }
}

void stop_server(Target& target, const ViewRecord& view) {
    const auto exports = target.plain("query-block-exports");
    bool used = !exports.ok();
    for (size_t i = 0; !used && i < exports.value().size(); ++i) {
        used = exports.value()[i]["type"].string() == "nbd";
    }
    if (view.own_server && !used) {
        static_cast<void>(target.plain("nbd-server-stop"));
        ::unlink(view.socket.c_str());
    }
}

void print_opened(const ViewRecord& view) {
    std::printf("%s: %s as it was at %s\n", view.id.c_str(), view.name.c_str(), view.state.c_str());
    if (view.kind == "fuse") {
        std::printf("is the file %s, read-only\n  mount -o loop,ro %s /mnt\n", view.file.c_str(), view.file.c_str());
    } else {
        std::printf("is served, %s, at\n  %s\n", view.kind == "clone" ? "writable" : "read-only", view.url().c_str());
        if (view.kind == "clone") {
            std::printf("What is written to it goes to %s.\n", view.file.c_str());
        }
    }
    std::printf("Take it down with: predsnap view close %s\n", view.id.c_str());
}

Result<void> open(const Arguments& arguments) {
    ViewRecord view;
    view.kind = !arguments.fuse.empty() ? "fuse" : !arguments.clone.empty() ? "clone" : "nbd";
    view.file = absolute(arguments.fuse + arguments.clone);
    view.target = arguments.target;
    view.target.image = absolute(view.target.image);
    view.target.capacity = absolute(view.target.capacity);
    view.target.qmp = absolute(view.target.qmp);
    view.background = !view.target.image.empty();
    if (view.background && ::access(view.target.image.c_str(), F_OK) != 0) {
        return Error{errno, "image '" + arguments.target.image + "': " + std::strerror(errno)};
    }
    TRY_ASSIGN(view.id, reserve_view());
    TRY_ASSIGN(const std::string path, view_path(view.id));
    auto target = view.background ? Target::open_in_background(view.target, path) : Target::open(view.target, Need::read_content);
    if (!target.ok()) {
        forget_view(view.id);
        return target.error();
    }
    view.name = target.value()->name();
    view.target.node = view.background ? "" : target.value()->node();
    Arguments whole = arguments;
    whole.socket = absolute(arguments.socket);
    Result<void> done = serve(*target.value(), &view, whole);
    if (done.ok()) {
        done = save_view(view);
    }
    if (!done.ok()) {
        take_down(*target.value(), view);
        if (view.background) {
            static_cast<void>(target.value()->plain("quit"));
        } else {
            stop_server(*target.value(), view);
        }
        forget_view(view.id);
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
    TRY_ASSIGN(const std::string path, view_path(view.id));
    if (view.background) {
        qmp::Client monitor(path + ".qmp");
        const bool asked = monitor.connect().ok();
        if (asked) {
            static_cast<void>(monitor.execute("quit"));
            // When the connection ends, the process has closed its image.
            for (auto event = monitor.next_event(1'000'000); event.ok(); event = monitor.next_event(1'000'000)) {
            }
        }
    } else {
        const auto target = Target::open(view.target, Need::read);
        if (target.ok()) {
            take_down(*target.value(), view);
            stop_server(*target.value(), view);
        } else if (view.is_served()) {
            return target.error();
        }
    }
    if (view.kind == "fuse") {
        for (int i = 0; i < 200 && view.is_served(); ++i) {
            g_usleep(10'000);
        }
        ::unlink(view.file.c_str());
    }
    forget_view(view.id);
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
