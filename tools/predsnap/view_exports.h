// SPDX-License-Identifier: GPL-2.0-or-later
//
// How the node of a view becomes something that others read: over NBD, or as a file. One thread at a time.
//
// The QEMU of a libvirt domain may mount nothing (its sandbox), so a file of its disk takes two processes: the domain's QEMU serves
// the view over NBD, and a qemu-storage-daemon of the view's own, the bridge, makes a file of that. Either may die at any time:
// what is left then is found through the view's record, which is there before the first of it is made.
#pragma once

#include "target.h"
#include "views.h"

namespace predsnap {

// Fills in where it is served. `socket`: where the user wants it, else a place is chosen; a process has one NBD server, so
// views of it share that. Errors name the target; EBUSY if its server is somebody else's.
Result<void> export_nbd(Target& target, ViewRecord* view, const std::string& socket);

// The same where the target has a server for views already.
Result<void> add_nbd_export(Target& target, const ViewRecord& view);

// view->file must not be there. By the process that has the node.
Result<void> export_fuse(Target& target, const ViewRecord& view);
// The same by a bridge.
Result<void> export_fuse_by_bridge(Target& target, ViewRecord* view);

// Ends the view's own daemon, if it has one, and waits until its images are closed; by force if it does not answer.
void end_daemon(const ViewRecord& view);
// After whoever made it has ended, or was told to take it down: the file is gone, also if that was killed.
void remove_file(const ViewRecord& view);

// Undoes in the target what was done of it, as far as it was: exports, nodes, the server if no other view needs it.
void take_down(Target& target, const ViewRecord& view);

}  // namespace predsnap
