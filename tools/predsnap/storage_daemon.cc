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

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "block/engine/text.h"

namespace predsnap {
namespace {

namespace fs = std::filesystem;

constexpr int kMonitorFd = 3;
constexpr unsigned kAnswerSeconds = 600;  // a rollback over much history, on slow storage
constexpr size_t kWordsMax = 2000;

fs::path own_folder() {
    std::error_code error;
    return fs::read_symlink("/proc/self/exe", error).parent_path();
}

Error system_error(const std::string& what) { return Error{errno, what + ": " + std::strerror(errno)}; }

// What a folder holds; nothing if it cannot be read.
std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> names;
    GDir* opened = g_dir_open(folder.c_str(), 0, nullptr);
    while (const char* name = opened != nullptr ? g_dir_read_name(opened) : nullptr) {
        names.emplace_back(name);
    }
    g_clear_pointer(&opened, g_dir_close);
    return names;
}

// In the child: no memory may be taken here.
[[noreturn]] void become(char* const* command, int monitor, int messages, pid_t parent) {
    // It ends with the tool, in order, and not by the terminal's Ctrl-C, which the tool answers.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::setpgid(0, 0);
    const int null = ::open("/dev/null", O_RDWR);
    if (::getppid() == parent && ::dup2(null, 0) == 0 && ::dup2(null, 1) == 1 && ::dup2(messages, 2) == 2 &&
        (monitor == kMonitorFd ? ::fcntl(monitor, F_SETFD, 0) == 0 : ::dup2(monitor, kMonitorFd) == kMonitorFd)) {
        ::execv(command[0], command);
    }
    ::_exit(127);
}

}  // namespace

Result<std::string> find_qemu_program(const char* name) {
    const fs::path own = own_folder();
    const char* told = std::getenv("PREDSNAP_QEMU_BIN");
    const std::array<fs::path, 4> folders = {told != nullptr ? fs::path(told) : fs::path(), own, own / "../../qemu/bin", "/opt/predsnap/bin"};
    for (const fs::path& folder : folders) {
        const fs::path program = folder / name;
        if (!folder.empty() && ::access(program.c_str(), X_OK) == 0) {
            return program.lexically_normal().string();
        }
    }
    if (char* found = g_find_program_in_path(name)) {
        std::string program = found;
        g_free(found);
        return program;
    }
    return Error{ENOENT, std::string(name) + " is not beside " + own.string() + "/predsnap, in /opt/predsnap/bin, or in PATH: "
                         "install QEMU with predsnap, or say where its programs are with PREDSNAP_QEMU_BIN"};
}

Result<std::unique_ptr<StorageDaemon>> StorageDaemon::start() {
    TRY_ASSIGN(const std::string program, find_qemu_program("qemu-storage-daemon"));
    std::unique_ptr<StorageDaemon> daemon(new StorageDaemon);
    int ends[2];
    daemon->messages_ = ::memfd_create("messages", MFD_CLOEXEC);
    if (daemon->messages_ < 0 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return system_error("a socket for " + program);
    }
    std::array<std::string, 5> words = {program, "--chardev", text("socket,id=qmp,fd=%d", kMonitorFd), "--monitor", "chardev=qmp"};
    std::array<char*, words.size() + 1> command{};
    for (size_t i = 0; i < words.size(); ++i) {
        command[i] = words[i].data();
    }
    const pid_t parent = ::getpid();
    daemon->pid_ = ::fork();
    if (daemon->pid_ == 0) {
        become(command.data(), ends[1], daemon->messages_, parent);
    }
    ::close(ends[1]);
    if (daemon->pid_ < 0) {
        ::close(ends[0]);
        return system_error(program);
    }
    auto monitor = qmp::Client::over(ends[0], "qemu-storage-daemon", kAnswerSeconds);
    if (!monitor.ok()) {
        return Error{EIO, program + " does not work: " + daemon->last_words() + " (" + monitor.error().message + ")"};
    }
    daemon->monitor_ = monitor.take();
    return daemon;
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
    for (const std::string& pid : names_in("/proc")) {
        if (pid.find_first_not_of("0123456789") != std::string::npos || pid == std::to_string(::getpid())) {
            continue;
        }
        const std::string process = "/proc/" + pid;
        for (const std::string& fd : names_in(process + "/fd")) {
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
