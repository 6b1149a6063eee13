// SPDX-License-Identifier: GPL-2.0-or-later
//
// A connection to libvirt. Any thread; copies share it.
#pragma once

#include <libvirt/libvirt.h>

#include <memory>
#include <string>
#include <vector>

#include "domain.h"

namespace predsnap::virt {

class Connection {
  public:
    // `uri`: empty for libvirt's default (LIBVIRT_DEFAULT_URI, its configuration, or by who asks).
    static Result<Connection> open(const std::string& uri = "");

    // By name, UUID, or number. Errors: ENOENT, naming what there is.
    Result<Domain> find(const std::string& name) const;
    // All, running or not.
    Result<std::vector<Domain>> domains() const;
    // Makes a domain of XML, or replaces the persistent definition of one.
    Result<Domain> define(const std::string& xml) const;

    const std::string& uri() const { return uri_; }
    virConnectPtr get() const { return connection_.get(); }

  private:
    std::shared_ptr<virConnect> connection_;
    std::string uri_;
};

// What libvirt says of the call that has just failed in this thread, after `what`.
Error failed(const std::string& what);

}  // namespace predsnap::virt
