// SPDX-License-Identifier: GPL-2.0-or-later
#include "view_exports.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "run_program.h"
#include "storage_daemon.h"

namespace predsnap {
namespace {

constexpr int64_t kStep = 10'000;          // microseconds between two looks
constexpr int64_t kEndMax = 10'000'000;    // for a daemon to end
constexpr int64_t kUnmountMax = 2'000'000;
constexpr char kBridgeNode[] = "bridge";

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

Result<std::string> choose_socket(const Target& target, const ViewRecord& view) {
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

// If views of the same process are served already, where.
Result<bool> share_server(ViewRecord* view) {
    TRY_ASSIGN(const std::vector<ViewRecord> others, load_views());
    for (const ViewRecord& other : others) {
        if (other.id != view->id && !other.background && same_target(other.target, view->target) && somebody_listens(other.socket)) {
            view->socket = other.socket;
            view->own_server = other.own_server;
            return true;
        }
    }
    return false;
}

// A process has one NBD server: if views of it are served already, they share it.
Result<void> start_server(Target& target, ViewRecord* view, const std::string& wanted) {
    if (!view->background) {
        TRY_ASSIGN(const bool shared, share_server(view));
        if (shared) {
            return {};
        }
    }
    TRY_ASSIGN(const std::string chosen, choose_socket(target, *view));
    view->socket = wanted.empty() ? chosen : wanted;
    view->own_server = true;
    if (somebody_listens(view->socket)) {
        // At a place of the tool's own it is a server that was started for a view whose record is lost.
        return wanted.empty() ? Result<void>() : Error{EADDRINUSE, "somebody serves at '" + wanted + "' already: name another place with --socket"};
    }
    TRY(save_view(*view));
    ::unlink(view->socket.c_str());  // what an earlier one left
    const Json address = JsonMap().set("type", "unix").set("data", JsonMap().set("path", view->socket).done()).done();
    const auto started = target.plain("nbd-server-start", JsonMap().set("addr", address).done());
    view->own_server = started.ok();
    if (!started.ok() && started.error().message.find("already running") != std::string::npos) {
        return Error{EBUSY, target.name() + " has an NBD server already, which is not predsnap's: wait until what uses it is over" +
                                (target.domain() ? "" : ", or use --fuse")};
    }
    return started.discard();
}

Result<void> add_fuse_export(qmp::Monitor& monitor, const std::string& node, const ViewRecord& view) {
    // O_EXCL: never a file that somebody else has made meanwhile.
    const int fd = ::open(view.file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
        return Error{errno, "'" + view.file + "' cannot be made: " + std::strerror(errno)};
    }
    ::close(fd);
    return monitor
        .execute("block-export-add",
                 JsonMap().set("type", "fuse").set("id", view.node()).set("node-name", node).set("mountpoint", view.file).set("writable", false).done())
        .discard();
}

Result<void> remove_export(Target& target, const ViewRecord& view) {
    TRY(target.plain("block-export-del", JsonMap().set("id", view.node()).set("mode", "hard").done()).discard());
    for (int64_t waited = 0; waited < kEndMax / 10; waited += kStep) {
        TRY_ASSIGN(const Json exports, target.plain("query-block-exports"));
        bool there = false;
        for (size_t i = 0; i < exports.size(); ++i) {
            there = there || exports[i]["id"].string() == view.node();
        }
        if (!there) {
            break;
        }
        g_usleep(kStep);
    }
    return {};
}

void stop_server(Target& target, const ViewRecord& view) {
    const auto exports = target.plain("query-block-exports");
    bool used = !exports.ok();
    for (size_t i = 0; !used && i < exports.value().size(); ++i) {
        used = exports.value()[i]["type"].string() == "nbd";
    }
    // A machine that was started anew since may have a server for something else.
    if (view.own_server && !used && somebody_listens(view.socket)) {
        static_cast<void>(target.plain("nbd-server-stop"));
        ::unlink(view.socket.c_str());
    }
}

// The process of a view's daemon; 0 if it is gone. A process id may be another's by now, so its arguments must name the monitor.
pid_t daemon_process(const std::string& path) {
    char *text = nullptr, *arguments = nullptr;
    gsize length = 0;
    pid_t pid = 0;
    if (g_file_get_contents((path + ".pid").c_str(), &text, nullptr, nullptr) != FALSE) {
        pid = std::atoi(text);
    }
    const std::string line = "/proc/" + std::to_string(pid) + "/cmdline";
    const bool alive = pid > 0 && g_file_get_contents(line.c_str(), &arguments, &length, nullptr) != FALSE &&
                       std::string(arguments, length).find(path + ".qmp") != std::string::npos;
    g_free(text);
    g_free(arguments);
    return alive ? pid : 0;
}

}  // namespace

Result<void> add_nbd_export(Target& target, const ViewRecord& view) {
    return target
        .plain("block-export-add", JsonMap()
                                       .set("type", "nbd")
                                       .set("id", view.node())
                                       .set("node-name", view.node())
                                       .set("name", view.id)
                                       .set("writable", view.kind == "clone")
                                       .done())
        .discard();
}

Result<void> export_nbd(Target& target, ViewRecord* view, const std::string& socket) {
    TRY(start_server(target, view, socket));
    return add_nbd_export(target, *view);
}

Result<void> export_fuse(Target& target, const ViewRecord& view) { return add_fuse_export(target.monitor(), view.node(), view); }

Result<void> export_fuse_by_bridge(Target& target, ViewRecord* view) {
    TRY(export_nbd(target, view, ""));
    TRY(save_view(*view));
    TRY_ASSIGN(const std::string path, view_path(view->id));
    TRY_ASSIGN(const auto bridge, StorageDaemon::start_in_background(path));
    const Json server = JsonMap().set("type", "unix").set("path", view->socket).done();
    const auto added = bridge->execute("blockdev-add", JsonMap()
                                                           .set("driver", "nbd")
                                                           .set("node-name", kBridgeNode)
                                                           .set("read-only", true)
                                                           .set("server", server)
                                                           .set("export", view->id)
                                                           .done());
    if (!added.ok()) {
        const bool denied = ::access(view->socket.c_str(), R_OK | W_OK) != 0 && errno == EACCES;
        return Error{added.error().code, target.name() + ": " + added.error().message +
                                             (denied ? ". Its machine is libvirt's system's: run predsnap as root" : "")};
    }
    return add_fuse_export(*bridge, kBridgeNode, *view);
}

void end_daemon(const ViewRecord& view) {
    const auto path = view_path(view.id);
    if (!path.ok()) {
        return;
    }
    qmp::Client monitor(path.value() + ".qmp");
    if (monitor.connect().ok() && monitor.execute("quit").ok()) {
        // When the connection ends, the process has closed its image.
        for (auto event = monitor.next_event(kEndMax); event.ok() && event.value(); event = monitor.next_event(kEndMax)) {
        }
    }
    for (int64_t waited = 0; waited < kEndMax; waited += kStep) {
        const pid_t pid = daemon_process(path.value());
        if (pid == 0) {
            break;
        }
        if (waited == kEndMax / 2) {
            ::kill(pid, SIGKILL);
        }
        g_usleep(kStep);
    }
}

void remove_file(const ViewRecord& view) {
    if (view.kind != "fuse") {
        return;
    }
    for (int64_t waited = 0; view.is_mounted() && waited < kUnmountMax; waited += kStep) {
        g_usleep(kStep);
    }
    // Of a process that was killed a mount is left that answers nothing.
    if (view.is_dead_mount() && ::umount2(view.file.c_str(), MNT_DETACH) != 0) {
        static_cast<void>(run_program({"fusermount3", "-u", "-z", "--", view.file}));
    }
    struct stat status {};
    // What was made for the view is empty; anything else is somebody's.
    if (::lstat(view.file.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 0) {
        ::unlink(view.file.c_str());
    }
}

void take_down(Target& target, const ViewRecord& view) {
    static_cast<void>(remove_export(target, view));
    for (const std::string& node : {view.clone_node(), view.view_node()}) {
        static_cast<void>(target.plain("blockdev-del", JsonMap().set("node-name", node).done()));
    }
    stop_server(target, view);
}

}  // namespace predsnap
