// SPDX-License-Identifier: GPL-2.0-or-later
//
// The edits that `predsnap protect` and `unprotect` make to a domain's persistent XML. Each takes the XML and gives the new one; what
// it does not concern stays as it is.
#pragma once

#include <string>

#include "block/engine/result.h"
#include "libvirt-hooks/domain.h"

namespace predsnap::protect {

// Way node: metadata, the -blockdev over libvirt's node `below`, and the device's drive.
Result<std::string> add_node(const std::string& xml, const hook::ProtectedDisk& disk, const std::string& below, bool direct);

// Way daemon: metadata, the disk as one of type vhostuser on `socket`, memory that is shared, and flushes that reach the daemon. What
// it replaces is kept in the metadata.
Result<std::string> add_daemon(const std::string& xml, const hook::ProtectedDisk& disk, const std::string& socket);

// The disk as it was before, for both ways; the metadata still names the files that are to be removed.
Result<std::string> restore(const std::string& xml, const hook::ProtectedDisk& disk);
// After restore(): the metadata, too, is as it was.
Result<std::string> forget(const std::string& xml, const std::string& target);

// Nothing may start the domain until restore() is through: a start would put an image of old on a disk that has moved on.
// merged: the disk below has everything, and the image counts no more.
Result<std::string> mark_removing(const std::string& xml, const std::string& target, bool merged);

// The <predsnap:disks> element without its namespace, which libvirt adds, for the metadata of a running domain; empty if there is none.
Result<std::string> metadata_of(const std::string& xml);

}  // namespace predsnap::protect
