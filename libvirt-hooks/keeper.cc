// SPDX-License-Identifier: GPL-2.0-or-later
#include "keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace predsnap::hook {
namespace {

constexpr int kEndTimeoutS = 60;       // for a daemon that was asked to end
constexpr int kDelayMaxS = 10;         // between starts that fail
constexpr int kLivedS = 5;             // one that lived so long failed for another reason than how it was started

struct Kept {
    const char* ready;
    const char* socket;
    char** command;
};

void say(const char* what, int detail) {
    const time_t now = time(nullptr);
    char stamp[32];
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S%z", localtime(&now));
    std::fprintf(stderr, "%s predsnap hook: storage daemon %s %d\n", stamp, what, detail);
}

pid_t start(const Kept& kept, const sigset_t& original) {
    unlink(kept.ready);
    unlink(kept.socket);
    const pid_t keeper = getpid();
    const pid_t child = fork();
    if (child != 0) {
        return child;
    }
    sigprocmask(SIG_SETMASK, &original, nullptr);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != keeper) {
        _exit(1);
    }
    execv(kept.command[0], kept.command);
    std::fprintf(stderr, "%s: %s\n", kept.command[0], std::strerror(errno));
    _exit(127);
}

// The next of the signals, 0 after so many seconds (-1: however long it takes).
int wait_signal(const sigset_t& signals, int timeout_s) {
    const timespec timeout{timeout_s, 0};
    int signal = 0;
    do {
        signal = timeout_s < 0 ? sigwaitinfo(&signals, nullptr) : sigtimedwait(&signals, nullptr, &timeout);
    } while (signal < 0 && errno == EINTR);
    return std::max(signal, 0);
}

// Its status, or -1 while it runs.
int reap(pid_t child) {
    int status = 0;
    return waitpid(child, &status, WNOHANG) == child ? status : -1;
}

void end(pid_t child) {
    kill(child, SIGTERM);
    const time_t begin = time(nullptr);
    while (reap(child) < 0) {
        if (time(nullptr) - begin > kEndTimeoutS) {
            say("does not end: killed after seconds:", kEndTimeoutS);
            kill(child, SIGKILL);
            waitpid(child, nullptr, 0);
            return;
        }
        usleep(5'000);
    }
}

// True: asked to end. False: the daemon has ended, with this status.
bool ended_by_request(pid_t child, const sigset_t& signals, int& status) {
    for (;;) {
        const int signal = wait_signal(signals, -1);
        if (signal == SIGTERM || signal == SIGINT) {
            end(child);
            return true;
        }
        status = reap(child);
        if (status >= 0) {
            return false;
        }
    }
}

// True: asked to end meanwhile.
bool pause(int seconds, const sigset_t& signals) {
    const time_t until = time(nullptr) + seconds;
    for (time_t now = time(nullptr); now < until; now = time(nullptr)) {
        const int signal = wait_signal(signals, static_cast<int>(until - now));
        if (signal == SIGTERM || signal == SIGINT) {
            return true;
        }
    }
    return false;
}

int keep(const Kept& kept, const sigset_t& signals, const sigset_t& original) {
    bool served = false;
    int delay_s = 0;
    for (;;) {
        const time_t begin = time(nullptr);
        int status = 0;
        if (ended_by_request(start(kept, original), signals, status)) {
            unlink(kept.ready);
            unlink(kept.socket);
            return 0;
        }
        // One that was ended in order takes the file away, but has served.
        served = served || status == 0 || access(kept.ready, F_OK) == 0;
        if (!served) {
            return 1;
        }
        delay_s = time(nullptr) - begin >= kLivedS ? 0 : std::min(delay_s * 2 + 1, kDelayMaxS);
        say("ended and is started again; its wait status was", status);
        if (pause(delay_s, signals)) {
            return 0;
        }
    }
}

}  // namespace

int keep_running(int count, char** arguments) {
    if (count < 4 || std::strcmp(arguments[2], "--") != 0) {
        std::fprintf(stderr, "usage: qemu --keep READY SOCKET -- PROGRAM [ARGUMENT]...\n");
        return 2;
    }
    fcntl(kKeeperLockFd, F_SETFD, FD_CLOEXEC);
    sigset_t signals;
    sigset_t original;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) {
        sigaddset(&signals, signal);
    }
    sigprocmask(SIG_BLOCK, &signals, &original);
    return keep({arguments[0], arguments[1], arguments + 3}, signals, original);
}

}  // namespace predsnap::hook
