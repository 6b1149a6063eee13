// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage_daemon.h"

#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "block/engine/text.h"
#include "libvirt-hooks/config.h"
#include "libvirt-hooks/files.h"

namespace predsnap {
namespace {

constexpr int kMonitorFd = 3;
constexpr unsigned kAnswerSeconds = 600;  // a rollback over much history, on slow storage
constexpr size_t kWordsMax = 2000;
constexpr int64_t kStartStep = 5'000, kStartMax = 20'000'000;  // microseconds

// In the child: no memory may be taken here.
[[noreturn]] void become(char* const* command, int monitor, int messages, pid_t parent, bool in_background) {
    if (in_background) {
        ::setsid();
    } else {
        // It ends with the tool, in order, and not by the terminal's Ctrl-C, which the tool answers.
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        ::setpgid(0, 0);
    }
    const int null = ::open("/dev/null", O_RDWR);
    const bool has_parent = in_background || ::getppid() == parent;
    const bool has_monitor = monitor < 0 || (monitor == kMonitorFd ? ::fcntl(monitor, F_SETFD, 0) == 0 : ::dup2(monitor, kMonitorFd) == kMonitorFd);
    if (has_parent && has_monitor && ::dup2(null, 0) == 0 && ::dup2(null, 1) == 1 && ::dup2(messages, 2) == 2) {
        ::execv(command[0], command);
    }
    ::_exit(127);
}

}  // namespace

Result<std::string> find_qemu_program(const char* name) {
    const char* told = std::getenv("PREDSNAP_QEMU_BIN");
    if (const std::string program = std::string(told != nullptr ? told : "") + "/" + name; told != nullptr && ::access(program.c_str(), X_OK) == 0) {
        return program;
    }
    // Where the hook finds them, so that both use the same; its configuration need not be sound for that.
    const auto config = hook::Config::load();
    const auto found = (config.ok() ? config.value() : hook::Config()).program(name);
    if (found.ok()) {
        return found;
    }
    if (char* in_path = g_find_program_in_path(name)) {
        std::string program = in_path;
        g_free(in_path);
        return program;
    }
    return Error{ENOENT, found.error().message + "; or say where QEMU's programs are with PREDSNAP_QEMU_BIN"};
}

Result<void> StorageDaemon::spawn(const std::vector<std::string>& words, int monitor, bool in_background) {
    messages_ = ::memfd_create("messages", MFD_CLOEXEC);
    if (messages_ < 0) {
        return hook::errno_error(words[0]);
    }
    std::vector<char*> command;
    for (const std::string& word : words) {
        command.push_back(const_cast<char*>(word.c_str()));
    }
    command.push_back(nullptr);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
        become(command.data(), monitor, messages_, parent, in_background);
    }
    return pid_ < 0 ? Result<void>(hook::errno_error(words[0])) : Result<void>();
}

Result<std::unique_ptr<StorageDaemon>> StorageDaemon::start() {
    TRY_ASSIGN(const std::string program, find_qemu_program("qemu-storage-daemon"));
    std::unique_ptr<StorageDaemon> daemon(new StorageDaemon);
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return hook::errno_error("a socket for " + program);
    }
    const Result<void> spawned =
        daemon->spawn({program, "--chardev", text("socket,id=qmp,fd=%d", kMonitorFd), "--monitor", "chardev=qmp"}, ends[1], false);
    ::close(ends[1]);
    if (!spawned.ok()) {
        ::close(ends[0]);
        return spawned.error();
    }
    auto monitor = qmp::Client::over(ends[0], "qemu-storage-daemon", kAnswerSeconds);
    if (!monitor.ok()) {
        return Error{EIO, program + " does not work: " + daemon->last_words() + " (" + monitor.error().message + ")"};
    }
    daemon->monitor_ = monitor.take();
    return daemon;
}

Result<std::unique_ptr<qmp::Client>> StorageDaemon::start_in_background(const std::string& path) {
    TRY_ASSIGN(const std::string program, find_qemu_program("qemu-storage-daemon"));
    StorageDaemon daemon;
    // With a comma in the path it would be another option; the tool's own folders have none.
    TRY(daemon.spawn({program, "--chardev", "socket,id=qmp,server=on,wait=off,path=" + path + ".qmp", "--monitor", "chardev=qmp", "--pidfile",
                      path + ".pid"}, -1, true));
    auto client = std::make_unique<qmp::Client>(path + ".qmp", kAnswerSeconds);
    for (int64_t waited_us = 0; !client->connect().ok(); waited_us += kStartStep) {
        if (::waitpid(daemon.pid_, nullptr, WNOHANG) == daemon.pid_ || waited_us > kStartMax) {
            daemon.pid_ = waited_us > kStartMax ? daemon.pid_ : -1;  // it has ended, or is ended here
            return Error{EIO, program + " does not work: " + daemon.last_words()};
        }
        g_usleep(kStartStep);
    }
    daemon.pid_ = -1;  // it goes on
    return client;
}

std::string StorageDaemon::last_words() const {
    std::string words(kWordsMax, '\0');
    const ssize_t got = ::pread(messages_, words.data(), words.size(), 0);
    words.resize(got > 0 ? static_cast<size_t>(got) : 0);
    while (!words.empty() && words.back() == '\n') {
        words.pop_back();
    }
    return words.empty() ? "it said nothing" : words;
}

StorageDaemon::~StorageDaemon() {
    if (pid_ > 0) {
        if (!monitor_ || !monitor_->execute("quit").ok()) {
            ::kill(pid_, SIGTERM);
        }
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    if (messages_ >= 0) {
        ::close(messages_);
    }
}

std::string users_of(const std::string& path) {
    struct stat image {};
    std::string users;
    if (::stat(path.c_str(), &image) != 0) {
        return users;
    }
    for (const std::string& pid : hook::names_in("/proc")) {
        if (pid.find_first_not_of("0123456789") != std::string::npos || pid == std::to_string(::getpid())) {
            continue;
        }
        const std::string process = "/proc/" + pid;
        for (const std::string& fd : hook::names_in(process + "/fd")) {
            struct stat file {};
            if (::stat((process + "/fd/" + fd).c_str(), &file) == 0 && file.st_dev == image.st_dev && file.st_ino == image.st_ino) {
                std::string name;
                std::ifstream(process + "/comm") >> name;
                users += (users.empty() ? "" : ", ") + name + " (pid " + pid + ")";
                break;
            }
        }
    }
    return users;
}

}  // namespace predsnap
