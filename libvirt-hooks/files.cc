// SPDX-License-Identifier: GPL-2.0-or-later
#include "files.h"

#include <fcntl.h>
#include <glib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstring>

namespace predsnap::hook {
namespace {

constexpr useconds_t kPollUs = 10'000;

Result<void> write_all(int fd, const std::string& path, const std::string& content) {
    size_t written = 0;
    while (written < content.size()) {
        const ssize_t n = write(fd, content.data() + written, content.size() - written);
        if (n < 0) {
            return errno_error("cannot write " + path);
        }
        written += static_cast<size_t>(n);
    }
    return fsync(fd) == 0 ? Result<void>() : errno_error("cannot write " + path);
}

}  // namespace

Fd::~Fd() {
    if (fd_ >= 0) {
        close(fd_);
    }
}

Fd& Fd::operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
}

std::string folder_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string own_program() {
    char path[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
    return length > 0 ? std::string(path, static_cast<size_t>(length)) : "";
}

Error errno_error(const std::string& what) {
    const int code = errno;
    return Error{code, what + ": " + std::strerror(code)};
}

Result<void> make_folder(const std::string& path, mode_t mode, uid_t user, gid_t group) {
    struct stat found;
    if (stat(path.c_str(), &found) == 0) {
        return S_ISDIR(found.st_mode) ? Result<void>() : Error{ENOTDIR, path + " is in the way: it is no folder"};
    }
    TRY(make_folder(folder_of(path), 0755, 0, 0));
    if (mkdir(path.c_str(), mode) != 0) {
        // A hook of another domain may have made it just now.
        return errno == EEXIST ? Result<void>() : errno_error("cannot make the folder " + path);
    }
    if (chmod(path.c_str(), mode) != 0 || chown(path.c_str(), user, group) != 0) {
        return errno_error("cannot give " + path + " to who needs it");
    }
    return {};
}

Result<void> write_atomically(const std::string& path, const std::string& content) {
    const std::string fresh = path + ".new-" + std::to_string(getpid());
    {
        const Fd fd(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (fd.get() < 0) {
            return errno_error("cannot write " + fresh);
        }
        TRY(write_all(fd.get(), fresh, content));
    }
    if (rename(fresh.c_str(), path.c_str()) != 0) {
        const Error error = errno_error("cannot write " + path);
        unlink(fresh.c_str());
        return error;
    }
    return {};
}

Result<std::string> read_file(const std::string& path) {
    char* content = nullptr;
    gsize length = 0;
    GError* error = nullptr;
    if (g_file_get_contents(path.c_str(), &content, &length, &error) == FALSE) {
        const Error failed{error->code == G_FILE_ERROR_NOENT ? ENOENT : EIO, error->message};
        g_error_free(error);
        return failed;
    }
    std::string text(content, length);
    g_free(content);
    return text;
}

Result<void> remove_file(const std::string& path) {
    return unlink(path.c_str()) == 0 || errno == ENOENT ? Result<void>() : errno_error("cannot remove " + path);
}

Result<void> give_to(const std::string& path, uid_t user, gid_t group) {
    struct stat found;
    if (stat(path.c_str(), &found) != 0) {
        return errno_error(path);
    }
    if (found.st_uid == user && found.st_gid == group) {
        return {};
    }
    return chown(path.c_str(), user, group) == 0 ? Result<void>() : errno_error("cannot give " + path + " to QEMU's user");
}

Result<Lock> Lock::take(const std::string& folder, const std::string& name, int timeout_s) {
    TRY(make_folder(folder, 0755, 0, 0));
    char* digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, name.c_str(), -1);
    const std::string path = folder + "/" + std::string(digest).substr(0, 16) + ".lock";
    g_free(digest);
    Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (fd.get() < 0) {
        return errno_error(path);
    }
    for (int64_t waited_us = 0; flock(fd.get(), LOCK_EX | LOCK_NB) != 0; waited_us += kPollUs) {
        if (errno != EWOULDBLOCK) {
            return errno_error(path);
        }
        if (waited_us > int64_t{timeout_s} * G_USEC_PER_SEC) {
            return Error{EBUSY, name + ": another hook has worked on it for " + std::to_string(timeout_s) + " s (lock " +
                                    path + "); see which with fuser " + path};
        }
        usleep(kPollUs);
    }
    return Lock(std::move(fd));
}

}  // namespace predsnap::hook
