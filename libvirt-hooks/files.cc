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
    GError* error = nullptr;
    const auto flags = static_cast<GFileSetContentsFlags>(G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE);
    if (g_file_set_contents_full(path.c_str(), content.data(), static_cast<gssize>(content.size()), flags, 0644, &error) == FALSE) {
        const Error failed{EIO, "cannot write: " + std::string(error->message)};
        g_error_free(error);
        return failed;
    }
    return {};
}

std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> names;
    GDir* dir = g_dir_open(folder.c_str(), 0, nullptr);
    while (const char* name = dir != nullptr ? g_dir_read_name(dir) : nullptr) {
        names.emplace_back(name);
    }
    g_clear_pointer(&dir, g_dir_close);
    return names;
}

// A domain's name may begin with another's, so what is left of the file's must be a target.
std::vector<std::string> files_of_domain(const std::string& folder, const std::string& domain, const std::string& suffix) {
    std::vector<std::string> names = names_in(folder);
    std::erase_if(names, [&](const std::string& name) {
        const std::string rest = name.starts_with(domain + "-") ? name.substr(domain.size() + 1) : "";
        return !rest.ends_with(suffix) || rest.find('-') != std::string::npos;
    });
    return names;
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
