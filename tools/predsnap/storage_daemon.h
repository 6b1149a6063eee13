// SPDX-License-Identifier: GPL-2.0-or-later
//
// A qemu-storage-daemon of the tool's own, for images that no virtual machine uses. It has no socket in the
// file system, and ends with the tool, whatever ends that.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "tools/qmp/client.h"

namespace predsnap {

// The program: in the folder PREDSNAP_QEMU_BIN, where the hook finds it (its Config: as hook.conf says, beside this program, in the
// build folder this one is in, in /opt/predsnap/bin), or in PATH. Also for other programs of QEMU's. Errors: ENOENT, with where it was
// looked for.
Result<std::string> find_qemu_program(const char* name);

class StorageDaemon {
  public:
    static Result<std::unique_ptr<StorageDaemon>> start();
    // One that outlives the tool: its monitor is the socket `path`.qmp, its process is in `path`.pid. Returns a connection to it.
    static Result<std::unique_ptr<qmp::Client>> start_in_background(const std::string& path);
    // Asks it to end, and waits until it has: its images are closed then.
    ~StorageDaemon();
    qmp::Client& monitor() { return *monitor_; }

  private:
    StorageDaemon() = default;
    // `monitor`: what becomes its descriptor 3, or -1.
    Result<void> spawn(const std::vector<std::string>& command, int monitor, bool in_background);
    // What it said before it ended.
    std::string last_words() const;

    pid_t pid_ = -1;
    int messages_ = -1;  // its stderr, a file without a name
    std::unique_ptr<qmp::Client> monitor_;
};

// The processes that have the file open, "qemu-system-x86 (pid 4711)"; empty if none is seen.
std::string users_of(const std::string& path);

}  // namespace predsnap
