// SPDX-License-Identifier: GPL-2.0-or-later
//
// A libvirt domain. Any thread; copies share the handle. Errors name the domain.
#pragma once

#include <libvirt/libvirt.h>

#include <memory>
#include <string>

#include "disks.h"
#include "tools/qmp/monitor.h"

namespace predsnap::virt {

enum class Xml {
    live,        // of the running domain, secrets left out; the persistent one if it does not run
    persistent,  // what it starts from next, secrets included: it may be defined again
};

class Domain {
  public:
    explicit Domain(virDomainPtr owned)
        : domain_(owned, [](virDomainPtr freed) { virDomainFree(freed); }), name_(virDomainGetName(owned)) {}

    // Asks nobody: a call of libvirt's would forget the error that a message with this name is about.
    const std::string& name() const { return name_; }
    std::string uuid() const;
    // It has a QEMU process: running, or paused.
    bool active() const { return virDomainIsActive(get()) == 1; }
    bool persistent() const { return virDomainIsPersistent(get()) == 1; }
    bool paused() const;

    Result<std::string> xml(Xml which) const;
    Result<std::vector<Disk>> disks(Xml which) const;

    Result<void> start() const;
    Result<void> pause() const;
    Result<void> resume() const;
    // As the reset button does.
    Result<void> reset() const;
    // As pulling the plug does.
    Result<void> destroy() const;

    // A QMP command through libvirt, which marks the domain as tainted (custom-monitor). Errors:
    // qmp::kRefused for what QEMU refused.
    Result<Json> monitor(const std::string& command, const Json& arguments = {}) const;

    virDomainPtr get() const { return domain_.get(); }

  private:
    Result<void> done(int result, const char* what) const;
    std::shared_ptr<virDomain> domain_;
    std::string name_;
};

// The domain's monitor where a Monitor is wanted.
class DomainMonitor : public qmp::Monitor {
  public:
    explicit DomainMonitor(Domain domain) : domain_(std::move(domain)) {}
    Result<Json> execute(const std::string& command, const Json& arguments = {}) override {
        return domain_.monitor(command, arguments);
    }

  private:
    const Domain domain_;
};

}  // namespace predsnap::virt
