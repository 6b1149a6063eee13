// SPDX-License-Identifier: GPL-2.0-or-later
#include "views.h"

#include <glib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "libvirt-hooks/files.h"

namespace predsnap {
namespace {

constexpr long kFuseMagic = 0x65735546;
constexpr int kViewsMax = 10000;

Result<void> write_record(const std::string& path, const ViewRecord& view) {
    GError* error = nullptr;
    if (g_file_set_contents(path.c_str(), view.json().text(true).c_str(), -1, &error) == FALSE) {
        const std::string message = error->message;
        g_error_free(error);
        return Error{EIO, message};
    }
    return {};
}

int number_of(const std::string& id) { return std::atoi(id.c_str() + 1); }

}  // namespace

bool somebody_listens(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        return false;
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool there = fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    ::close(fd);
    return there;
}

Result<std::string> runtime_folder() {
    const char *told = std::getenv("PREDSNAP_RUNTIME_DIR"), *xdg = std::getenv("XDG_RUNTIME_DIR");
    const std::string folder = told != nullptr       ? told
                               : ::geteuid() == 0    ? "/run/predsnap"
                               : xdg != nullptr      ? std::string(xdg) + "/predsnap"
                                                     : "/tmp/predsnap-" + std::to_string(::geteuid());
    struct stat status {};
    if (g_mkdir_with_parents(folder.c_str(), 0700) != 0 || ::stat(folder.c_str(), &status) != 0) {
        return hook::errno_error(folder);
    }
    if (status.st_uid != ::geteuid() || !S_ISDIR(status.st_mode)) {
        return Error{EACCES, folder + " is not this user's: say where else with PREDSNAP_RUNTIME_DIR"};
    }
    return folder;
}

Json ViewRecord::json() const {
    return JsonMap()
        .set("id", id)
        .set("kind", kind)
        .set("target", name)
        .set("domain", target.domain)
        .set("disk", target.disk)
        .set("connect", target.connect)
        .set("qmp", target.qmp)
        .set("node", target.node)
        .set("image", target.image)
        .set("capacity", target.capacity)
        .set("background", background)
        .set("bridged", bridged)
        .set("own-server", own_server)
        .set("socket", socket)
        .set("file", file)
        .set("url", url())
        .set("state", state)
        .set("moment", moment)
        .done();
}

ViewRecord ViewRecord::of(const Json& json) {
    ViewRecord view;
    view.id = json["id"].string();
    view.kind = json["kind"].string();
    view.name = json["target"].string();
    view.target = {.domain = json["domain"].string(), .disk = json["disk"].string(), .connect = json["connect"].string(),
                   .qmp = json["qmp"].string(), .node = json["node"].string(), .image = json["image"].string(),
                   .capacity = json["capacity"].string()};
    view.background = json["background"].boolean();
    view.bridged = json["bridged"].boolean();
    view.own_server = json["own-server"].boolean();
    view.socket = json["socket"].string();
    view.file = json["file"].string();
    view.state = json["state"].string();
    view.moment = json["moment"];
    return view;
}

std::string ViewRecord::url() const {
    if (socket.empty()) {
        return "";
    }
    char* escaped = g_uri_escape_string(socket.c_str(), "/", FALSE);
    std::string url = "nbd+unix:///" + id + "?socket=" + escaped;
    g_free(escaped);
    return url;
}

bool ViewRecord::is_mounted() const {
    struct statfs status {};
    return ::statfs(file.c_str(), &status) == 0 && status.f_type == kFuseMagic;
}

bool ViewRecord::is_dead_mount() const {
    struct statfs status {};
    return ::statfs(file.c_str(), &status) != 0 && errno == ENOTCONN;
}

bool ViewRecord::is_served() const {
    const bool has_server = kind != "fuse" || bridged, has_file = kind == "fuse";
    return (!has_server || somebody_listens(socket)) && (!has_file || is_mounted());
}

Result<std::string> view_path(const std::string& id) {
    TRY_ASSIGN(const std::string folder, runtime_folder());
    return folder + "/" + id;
}

Result<std::vector<ViewRecord>> load_views() {
    TRY_ASSIGN(const std::string folder, runtime_folder());
    std::vector<ViewRecord> views;
    GDir* opened = g_dir_open(folder.c_str(), 0, nullptr);
    while (const char* name = opened != nullptr ? g_dir_read_name(opened) : nullptr) {
        char* text = nullptr;
        if (name[0] == 'v' && g_str_has_suffix(name, ".json") && g_file_get_contents((folder + "/" + name).c_str(), &text, nullptr, nullptr) != FALSE) {
            const auto parsed = Json::parse(text);
            if (parsed.ok() && parsed.value()["id"]) {
                views.push_back(ViewRecord::of(parsed.value()));
            }
            g_free(text);
        }
    }
    g_clear_pointer(&opened, g_dir_close);
    std::sort(views.begin(), views.end(), [](const ViewRecord& a, const ViewRecord& b) { return number_of(a.id) < number_of(b.id); });
    return views;
}

Result<void> reserve_view(ViewRecord* view) {
    for (int number = 1; number < kViewsMax; ++number) {
        view->id = "v" + std::to_string(number);
        TRY_ASSIGN(const std::string path, view_path(view->id));
        if (::access((path + ".json").c_str(), F_OK) == 0) {
            continue;
        }
        // Whole from the first moment on, whenever this is cut off, and never another's.
        const std::string draft = path + ".json.draft-" + std::to_string(::getpid());
        TRY(write_record(draft, *view));
        const bool taken = ::link(draft.c_str(), (path + ".json").c_str()) == 0;
        const int why = errno;
        ::unlink(draft.c_str());
        if (taken) {
            return {};
        }
        // Without the draft: somebody has just forgotten a view of this number.
        if (why != EEXIST && why != ENOENT) {
            return Error{why, path + ".json: " + std::strerror(why)};
        }
    }
    return Error{ENOSPC, "there are too many views: close some ('predsnap view list')"};
}

Result<void> save_view(const ViewRecord& view) {
    TRY_ASSIGN(const std::string path, view_path(view.id));
    return write_record(path + ".json", view);
}

void forget_view(const std::string& id) {
    const auto folder = runtime_folder();
    if (!folder.ok()) {
        return;
    }
    // Drafts of the record, which a killed tool leaves, too.
    for (const std::string& name : hook::names_in(folder.value())) {
        if (name.starts_with(id + ".json.")) {
            ::unlink((folder.value() + "/" + name).c_str());
        }
    }
    for (const char* suffix : {".qmp", ".pid", ".nbd", ".json"}) {
        ::unlink((folder.value() + "/" + id + suffix).c_str());
    }
}

}  // namespace predsnap
