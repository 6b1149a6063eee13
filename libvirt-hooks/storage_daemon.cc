// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage_daemon.h"

#include <dirent.h>
#include <fcntl.h>
#include <glib.h>
#include <grp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "files.h"
#include "keeper.h"
#include "node.h"

namespace predsnap::hook {
namespace {

constexpr int kStopTimeoutS = 70;  // longer than the keeper gives the daemon
constexpr useconds_t kPollUs = 5'000;

struct Paths {
    std::string run, pid, ready, monitor, socket, log;
};

std::string run_folder(const Config& config, const std::string& domain) { return config.run + "/" + domain; }
std::string pid_file(const Config& config, const std::string& domain, const std::string& target) {
    return config.run + "/daemons/" + domain + "-" + target + ".pid";
}

Paths paths_of(const Config& config, const Domain& domain, const ProtectedDisk& disk) {
    const std::string run = run_folder(config, domain.name);
    return {run,
            pid_file(config, domain.name, disk.target),
            run + "/" + disk.target + ".ready",
            monitor_of(config, domain, disk),
            domain.find_disk(disk.target)->source,
            config.log + "/" + domain.name + "/" + disk.target + "-daemon.log"};
}

// Opened and, if nobody lives, locked.
struct PidFile {
    Fd fd;
    pid_t keeper = 0;  // who holds the lock; 0: nobody
};

Result<PidFile> open_pid_file(const std::string& path) {
    PidFile file{Fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)), 0};
    if (file.fd.get() < 0) {
        return errno_error(path);
    }
    if (flock(file.fd.get(), LOCK_EX | LOCK_NB) != 0) {
        char text[16] = {};
        if (pread(file.fd.get(), text, sizeof(text) - 1, 0) < 0 || (file.keeper = std::atoi(text)) <= 0) {
            return Error{EIO, path + " is locked, but names no process"};
        }
    }
    return file;
}

// The keeper's command line. Equal ones do the same.
std::vector<std::string> command_of(const std::string& daemon, const Paths& paths, const Domain& domain,
                                    const ProtectedDisk& disk) {
    std::vector<std::string> command = {own_program(), "--keep", paths.ready, paths.socket, "--", daemon,
                                        "--chardev", "socket,id=qmp,server=on,wait=off,path=" + paths.monitor,
                                        "--monitor", "chardev=qmp", "--pidfile", paths.ready};
    for (const std::string& node : daemon_nodes(disk)) {
        command.insert(command.end(), {"--blockdev", node});
    }
    // The device says that it has no volatile cache although the node has one, and so a guest sends no flushes: unless the device
    // is told not to say so, each write must be made durable by itself.
    const std::string* wce = domain.overridden(domain.find_disk(disk.target)->alias, "config-wce");
    const bool guest_flushes = wce != nullptr && (*wce == "false" || *wce == "off");
    command.insert(command.end(), {"--export", "vhost-user-blk,id=guest,node-name=" + disk.node +
                                                   ",writable=on,num-queues=1,addr.type=unix,addr.path=" + paths.socket +
                                                   (guest_flushes ? "" : ",writethrough=on")});
    return command;
}

bool runs_as(pid_t pid, const std::vector<std::string>& command) {
    const Result<std::string> line = read_file("/proc/" + std::to_string(pid) + "/cmdline");
    std::string wanted;
    for (const std::string& argument : command) {
        wanted += argument + '\0';
    }
    return line.ok() && line.value() == wanted;
}

// In the new process; never returns. Nothing of libvirt's stays open, else it would wait for the end of our output.
[[noreturn]] void become_keeper(int lock, int log, const Owner& owner, char** argv) {
    const int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(log, 1);
    dup2(log, 2);
    dup2(lock, kKeeperLockFd);
    closefrom(kKeeperLockFd + 1);
    setsid();
    umask(0027);
    const bool grouped = owner.name.empty() ? setgroups(0, nullptr) == 0 : initgroups(owner.name.c_str(), owner.group) == 0;
    if (!grouped || setgid(owner.group) != 0 || setuid(owner.user) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        perror("predsnap hook: cannot become QEMU's user");
        _exit(1);
    }
    execv(argv[0], argv);
    perror(argv[0]);
    _exit(127);
}

// Locked by the keeper's inherited description from the moment it exists.
pid_t start_keeper(const std::vector<std::string>& command, const PidFile& file, int log, const Owner& owner) {
    std::vector<char*> argv;
    for (const std::string& argument : command) {
        argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    // Away from the numbers that they are put on.
    const Fd lock_high(fcntl(file.fd.get(), F_DUPFD_CLOEXEC, 16));
    const Fd log_high(fcntl(log, F_DUPFD_CLOEXEC, 16));
    const pid_t child = fork();
    if (child == 0) {
        become_keeper(lock_high.get(), log_high.get(), owner, argv.data());
    }
    return child;
}

Result<void> note_pid(const PidFile& file, const std::string& path, pid_t pid) {
    const std::string text = std::to_string(pid) + "\n";
    if (ftruncate(file.fd.get(), 0) != 0 ||
        pwrite(file.fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
        return errno_error(path);
    }
    return {};
}

std::string said_since(const std::string& log, off_t begin) {
    const Result<std::string> content = read_file(log);
    std::string said = content.ok() && content.value().size() > static_cast<size_t>(begin)
                           ? content.value().substr(static_cast<size_t>(begin))
                           : "";
    while (!said.empty() && said.back() == '\n') {
        said.pop_back();
    }
    return said.empty() ? "nothing; see " + log : said;
}

Result<void> wait_ready(pid_t keeper, const Paths& paths, int timeout_s, off_t log_begin) {
    for (int64_t waited_us = 0; waited_us < int64_t{timeout_s} * 1'000'000; waited_us += kPollUs) {
        if (access(paths.ready.c_str(), F_OK) == 0) {
            return {};
        }
        if (waitpid(keeper, nullptr, WNOHANG) == keeper) {
            return Error{ECHILD, "qemu-storage-daemon did not start: " + said_since(paths.log, log_begin)};
        }
        usleep(kPollUs);
    }
    kill(keeper, SIGTERM);
    return Error{ETIMEDOUT, "qemu-storage-daemon does not serve after " + std::to_string(timeout_s) +
                                " s (start-timeout in hook.conf); it said: " + said_since(paths.log, log_begin)};
}

// A daemon whose keeper was killed ends by itself, soon; the next one needs its lock on the image.
void await_orphan(const Paths& paths, const Owner& owner) {
    const Result<std::string> text = read_file(paths.ready);
    const pid_t pid = text.ok() ? std::atoi(text.value().c_str()) : 0;
    const std::string proc = "/proc/" + std::to_string(pid);
    for (int i = 0; pid > 0 && i < 2000; ++i) {
        struct stat found;
        const Result<std::string> line = read_file(proc + "/cmdline");
        if (!line.ok() || line.value().find(paths.socket) == std::string::npos || stat(proc.c_str(), &found) != 0 ||
            found.st_uid != owner.user) {
            return;
        }
        if (i == 0) {
            kill(pid, SIGTERM);
        }
        usleep(kPollUs);
    }
}

Result<void> end_keeper(const std::string& path, pid_t keeper) {
    kill(keeper, SIGTERM);
    for (int64_t waited_us = 0; waited_us < int64_t{kStopTimeoutS} * 1'000'000; waited_us += kPollUs) {
        TRY_ASSIGN(const PidFile file, open_pid_file(path));
        if (file.keeper != keeper) {
            return {};
        }
        usleep(kPollUs);
    }
    return Error{ETIMEDOUT, path + ": process " + std::to_string(keeper) + " does not end"};
}

Result<void> make_folders(const Config& config, const Paths& paths, const Domain& domain, const Owner& owner) {
    TRY(make_folder(config.run + "/daemons", 0755, 0, 0));
    TRY(make_folder(config.log + "/" + domain.name, 0750, owner.user, owner.group));
    TRY(make_folder(paths.run, 0750, owner.user, owner.group));
    TRY(give_to(paths.run, owner.user, owner.group));
    return make_folder(folder_of(paths.socket), 0750, owner.user, owner.group);
}

Result<void> check_disk(const Domain& domain, const Disk& disk) {
    if (disk.type != "vhostuser") {
        return Error{EINVAL, "way daemon needs <disk type='vhostuser'>, this one is of type '" + disk.type + "'"};
    }
    if (disk.source.empty()) {
        return Error{EINVAL, "the vhostuser disk names no socket: <source type='unix' path='...'/>"};
    }
    if (!domain.shared_memory) {
        return Error{EINVAL, "a vhostuser disk needs memory that the daemon can see: <memoryBacking><source type='memfd'/>"
                             "<access mode='shared'/></memoryBacking>"};
    }
    return {};
}

// Two hooks that start or stop one daemon take turns.
Result<Lock> lock_daemon(const Config& config, const std::string& pid_path) {
    return Lock::take(config.run + "/locks", pid_path, config.start_timeout_s + kStopTimeoutS);
}

Result<void> start(const Config& config, const Domain& domain, const ProtectedDisk& disk, const Owner& owner,
                   bool domain_runs) {
    TRY(check_disk(domain, *domain.find_disk(disk.target)));
    const Paths paths = paths_of(config, domain, disk);
    TRY_ASSIGN(const Lock lock, lock_daemon(config, paths.pid));
    TRY(make_folders(config, paths, domain, owner));
    TRY_ASSIGN(const std::string program, config.program("qemu-storage-daemon"));
    const std::vector<std::string> command = command_of(program, paths, domain, disk);
    TRY_ASSIGN(PidFile file, open_pid_file(paths.pid));
    if (file.keeper != 0) {
        if (domain_runs || (runs_as(file.keeper, command) && access(paths.ready.c_str(), F_OK) == 0)) {
            return {};
        }
        TRY(end_keeper(paths.pid, file.keeper));
        TRY_ASSIGN(file, open_pid_file(paths.pid));
    }
    await_orphan(paths, owner);
    TRY(remove_file(paths.ready));
    const Fd log(open(paths.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640));
    if (log.get() < 0) {
        return errno_error(paths.log);
    }
    const off_t log_begin = lseek(log.get(), 0, SEEK_END);
    const pid_t keeper = start_keeper(command, file, log.get(), owner);
    if (keeper < 0) {
        return errno_error("fork");
    }
    TRY(note_pid(file, paths.pid, keeper));
    return wait_ready(keeper, paths, config.start_timeout_s, log_begin);
}

Result<void> stop_one(const Config& config, const std::string& path) {
    TRY_ASSIGN(const Lock lock, lock_daemon(config, path));
    TRY_ASSIGN(const PidFile file, open_pid_file(path));
    if (file.keeper != 0) {
        TRY(end_keeper(path, file.keeper));
    }
    return remove_file(path);
}

}  // namespace

std::string monitor_of(const Config& config, const Domain& domain, const ProtectedDisk& disk) {
    return disk.monitor.empty() ? run_folder(config, domain.name) + "/" + disk.target + ".qmp" : disk.monitor;
}

Result<void> start_daemon(const Config& config, const Domain& domain, const ProtectedDisk& disk, const Owner& owner,
                          bool domain_runs) {
    const Result<void> started = start(config, domain, disk, owner, domain_runs);
    return started.ok() ? started : Error{started.error().code, name_of(domain, disk) + ": " + started.error().message};
}

Result<void> stop_daemons(const Config& config, const std::string& domain) {
    Result<void> first;
    const std::string folder = config.run + "/daemons";
    for (const std::string& name : files_of_domain(folder, domain, ".pid")) {
        const Result<void> stopped = stop_one(config, folder + "/" + name);
        if (first.ok() && !stopped.ok()) {
            first = stopped;
        }
    }
    const std::string run = run_folder(config, domain);
    for (const std::string& name : names_in(run)) {
        if (name.ends_with(".ready") || name.ends_with(".qmp") || name.ends_with(".sock")) {
            unlink((run + "/" + name).c_str());
        }
    }
    rmdir(run.c_str());
    return first;
}

}  // namespace predsnap::hook
