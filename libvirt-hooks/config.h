// SPDX-License-Identifier: GPL-2.0-or-later
//
// Where the hook finds things: /etc/predsnap/hook.conf, or what PREDSNAP_HOOK_CONF names. Everything has a default.
//
//   [hook]
//   prefix=/opt/predsnap      our QEMU's programs are in bin/ there
//   user=libvirt-qemu         who QEMU runs as; default: what libvirt's qemu.conf says, or Debian's user for it
//   group=kvm
//   run=/run/predsnap
//   log=/var/log/predsnap
//   start-timeout=30          seconds that a storage daemon may take to serve
#pragma once

#include <sys/types.h>

#include <string>

#include "block/engine/result.h"
#include "domain.h"

namespace predsnap::hook {

struct Owner {
    uid_t user = 0;
    gid_t group = 0;
    std::string name;  // of the user; empty if it has none
};

struct Config {
    std::string prefix;  // empty: beside this program, then /opt/predsnap
    std::string user;
    std::string group;
    std::string run = "/run/predsnap";
    std::string log = "/var/log/predsnap";
    int start_timeout_s = 30;

    // A missing file is no error, a wrong one is.
    static Result<Config> load();

    // Path of one of QEMU's programs as built with the driver. Errors: ENOENT, with where it was looked for.
    Result<std::string> program(const std::string& name) const;
    // Who the domain's QEMU runs as, and so who owns images and sockets.
    Result<Owner> owner(const Domain& domain) const;
};

}  // namespace predsnap::hook
