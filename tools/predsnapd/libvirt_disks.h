// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disks of a libvirt's running domains that have predsnap on them (domain_disks.h). A thread of its own follows libvirt's events, and connects again when libvirtd
// was gone; meanwhile the disks stay, as guests run on without libvirtd.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "disk_watch.h"
#include "tools/qmp/monitor.h"

namespace predsnap::predict {

struct LibvirtState {
    bool connected = false;
    std::vector<DiskConfig> disks;
    std::vector<std::string> errors;  // domains whose XML makes no sense
};

class LibvirtDisks {
  public:
    // `changed` is called in the thread that makes this, by its main loop.
    static Result<std::unique_ptr<LibvirtDisks>> watch(const std::string& uri, std::function<void()> changed);
    // Does not wait for a call to libvirt that is on its way.
    ~LibvirtDisks();

    LibvirtState state() const;
    // Looks at all domains again.
    void look_again();
    // What opens the monitor of a domain. May outlive this object; from any thread.
    std::function<std::unique_ptr<qmp::Monitor>()> opener(const std::string& domain) const;

  private:
    struct Shared;
    class Monitor;
    explicit LibvirtDisks(std::shared_ptr<Shared> shared);
    const std::shared_ptr<Shared> shared_;
};

}  // namespace predsnap::predict
