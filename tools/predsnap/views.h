// SPDX-License-Identifier: GPL-2.0-or-later
//
// Views that were opened and are there until they are closed: who serves them, where, and of what. Noted in files
// in the runtime folder, one a view, so that another run of the tool finds them.
#pragma once

#include <string>
#include <vector>

#include "options.h"
#include "tools/qmp/json.h"

namespace predsnap {

// /run/predsnap for root, else $XDG_RUNTIME_DIR/predsnap, or a folder in /tmp; PREDSNAP_RUNTIME_DIR says another.
// Made if it is missing. Errors: EACCES if it is somebody else's.
Result<std::string> runtime_folder();

struct ViewRecord {
    std::string id;          // "v1"
    std::string kind;        // nbd, fuse, clone
    TargetOptions target;
    std::string name;        // of the target, for people
    bool background = false; // a daemon of its own has the image open
    bool bridged = false;    // the machine serves it over NBD, a daemon of its own makes the file of that
    bool own_server = false; // the NBD server was started for views
    std::string socket;      // nbd, clone, and what is bridged
    std::string file;        // fuse, clone
    std::string state;       // what it shows, in words
    Json moment;             // the same for programs

    Json json() const;
    static ViewRecord of(const Json& json);
    std::string view_node() const { return "predsnap-view-" + id; }
    std::string clone_node() const { return "predsnap-clone-" + id; }
    // What is exported.
    std::string node() const { return kind == "clone" ? clone_node() : view_node(); }
    // "nbd+unix:///v1?socket=..."
    std::string url() const;
    // Whether somebody still serves it, as far as can be seen without asking libvirt.
    bool is_served() const;
    // Of a file: somebody serves it; or who did was killed, and all it answers is an error.
    bool is_mounted() const;
    bool is_dead_mount() const;
};

// Those that are noted, in order of their numbers.
Result<std::vector<ViewRecord>> load_views();
// Gives it a free number, under which it is noted from then on.
Result<void> reserve_view(ViewRecord* view);
Result<void> save_view(const ViewRecord& view);
void forget_view(const std::string& id);
// Whether a server is behind a Unix socket.
bool somebody_listens(const std::string& path);
// Where files of a view are, without a suffix: .json, .qmp, .pid, .nbd.
Result<std::string> view_path(const std::string& id);

}  // namespace predsnap
