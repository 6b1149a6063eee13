// SPDX-License-Identifier: GPL-2.0-or-later
//
// The libvirt hook, /etc/libvirt/hooks/qemu or qemu.d/predsnap: libvirt runs it as root with the name of a domain, what is about to
// happen, `begin` or `end`, and the domain's XML on standard input. It never calls libvirt: that waits for it.
#include <glib.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "config.h"
#include "domain.h"
#include "image.h"
#include "keeper.h"
#include "node.h"
#include "sidecar.h"
#include "storage_daemon.h"

namespace predsnap::hook {
namespace {

constexpr char kUsage[] =
    "usage: qemu DOMAIN prepare|start|started|stopped|release|reconnect|migrate begin|end [EXTRA] < DOMAIN.xml\n"
    "libvirt runs this before a domain starts and after it has ended, if it lies in /etc/libvirt/hooks or in\n"
    "/etc/libvirt/hooks/qemu.d. See predsnap-hook(8).\n";

std::string read_all(int fd) {
    std::string content;
    char buffer[65536];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) {
        content.append(buffer, static_cast<size_t>(n));
    }
    return content;
}

Result<void> prepare_disk(const Config& config, const Domain& domain, const ProtectedDisk& disk) {
    if (disk.removing) {
        return Error{EBUSY, name_of(domain, disk) + ": predsnap is being taken off it, and that was cut off. Finish it: predsnap "
                                "unprotect " + domain.name + " --disk " + disk.target};
    }
    if (disk.way == Way::kNode) {
        TRY(check_node(domain, disk));
    }
    TRY_ASSIGN(const Owner owner, config.owner(domain));
    TRY(ensure_image(config, domain, disk, owner));
    TRY(prepare_access_log(disk, owner));
    if (disk.way == Way::kDaemon) {
        TRY(start_daemon(config, domain, disk, owner, false));
    }
    return announce(config, domain, disk);
}

Result<void> prepare(const Config& config, const Domain& domain) {
    drop_dead_mounts(config);
    for (const ProtectedDisk& disk : domain.protected_disks) {
        TRY(disk.leaving ? Result<void>() : prepare_disk(config, domain, disk));
    }
    return {};
}

// What has died is started again, what lives is left alone.
Result<void> reconnect(const Config& config, const Domain& domain) {
    drop_dead_mounts(config);
    Result<void> first;
    for (const ProtectedDisk& disk : domain.protected_disks) {
        if (disk.leaving) {
            continue;
        }
        Result<void> result = announce(config, domain, disk);
        if (result.ok() && disk.way == Way::kDaemon) {
            const Result<Owner> owner = config.owner(domain);
            result = owner.ok() ? start_daemon(config, domain, disk, owner.value(), true) : owner.discard();
        }
        if (first.ok() && !result.ok()) {
            first = result;
        }
    }
    return first;
}

// Works by the domain's name alone: its metadata may have changed since, or be what the start failed for.
Result<void> release(const Config& config, const std::string& domain) {
    const Result<void> retracted = retract(config, domain);
    const Result<void> stopped = stop_daemons(config, domain);
    drop_dead_mounts(config);
    return stopped.ok() ? retracted : stopped;
}

Result<void> migrate(const Domain& domain) {
    for (const ProtectedDisk& disk : domain.protected_disks) {
        if (disk.way == Way::kDaemon && !disk.leaving) {
            return Error{ENOTSUP, name_of(domain, disk) + ": way daemon cannot be migrated live, as the daemon has the image open "
                                      "on the other host. Shut the domain down first, or use way node"};
        }
    }
    return {};
}

Result<void> obey(const std::string& name, const std::string& operation) {
    TRY_ASSIGN(const Config config, Config::load());
    if (operation == "release") {
        return release(config, name);
    }
    TRY_ASSIGN(const Domain domain, parse_domain(read_all(STDIN_FILENO)));
    if (operation == "prepare") {
        return prepare(config, domain);
    }
    return operation == "reconnect" ? reconnect(config, domain) : migrate(domain);
}

int run(const std::string& name, const std::string& operation) {
    bool known = false;
    for (const char* acted_on : {"prepare", "reconnect", "release", "migrate"}) {
        known = known || operation == acted_on;
    }
    if (!known || name.empty() || name.find('/') != std::string::npos || name[0] == '.') {
        return 0;
    }
    const Result<void> done = obey(name, operation);
    if (done.ok()) {
        return 0;
    }
    std::fprintf(stderr, "predsnap: %s\n", done.error().message.c_str());
    syslog(LOG_ERR, "%s, domain '%s': %s", operation.c_str(), name.c_str(), done.error().message.c_str());
    // libvirt ends a running domain whose hook fails at reconnect.
    return operation == "reconnect" ? 0 : 1;
}

}  // namespace
}  // namespace predsnap::hook

int main(int argc, char** argv) {
    using namespace predsnap::hook;
    if (argc > 2 && std::strcmp(argv[1], "--keep") == 0) {
        return keep_running(argc - 2, argv + 2);
    }
    if (argc < 4) {
        std::fputs(kUsage, argc > 1 && std::strcmp(argv[1], "--help") == 0 ? stdout : stderr);
        return argc > 1 && std::strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    openlog("predsnap-hook", LOG_PID, LOG_DAEMON);
    return run(argv[1], argv[2]);
}
