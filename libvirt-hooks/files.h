// SPDX-License-Identifier: GPL-2.0-or-later
//
// Files and folders of the hook. Errors name the path.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::hook {

// Closes with its scope.
class Fd {
  public:
    explicit Fd(int fd = -1) : fd_(fd) {}
    ~Fd();
    Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    Fd& operator=(Fd&& other) noexcept;

    int get() const { return fd_; }

  private:
    int fd_;
};

std::string folder_of(const std::string& path);
std::string own_program();
// What `what` failed on and why, from errno.
Error errno_error(const std::string& what);

// Makes it and those above it. New ones belong to root and are 0755; the last one gets `mode`, and the owner if it is new.
Result<void> make_folder(const std::string& path, mode_t mode, uid_t user, gid_t group);
// All or nothing: readers see the content before or this one.
Result<void> write_atomically(const std::string& path, const std::string& content);
Result<std::string> read_file(const std::string& path);
// What a folder holds; nothing if it cannot be read.
std::vector<std::string> names_in(const std::string& folder);
// DOMAIN-TARGET.suffix, of all targets; names.
std::vector<std::string> files_of_domain(const std::string& folder, const std::string& domain, const std::string& suffix);
// Gone afterwards; it need not have been there.
Result<void> remove_file(const std::string& path);
Result<void> give_to(const std::string& path, uid_t user, gid_t group);

// Held until the object goes, or the process ends however it ends. Waits for who has it.
class Lock {
  public:
    // `name`: of what is locked, for the file's name and for messages. Errors: EBUSY after `timeout_s`.
    static Result<Lock> take(const std::string& folder, const std::string& name, int timeout_s);

  private:
    explicit Lock(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
};

}  // namespace predsnap::hook
