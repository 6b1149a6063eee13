// SPDX-License-Identifier: GPL-2.0-or-later
#include "terminal.h"

#include <glib.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace predsnap {
namespace {

constexpr size_t kWidth = 80, kWidthMin = 30, kWidthMax = 500;
constexpr int kBarWidth = 30;

volatile sig_atomic_t was_interrupted = 0;

}  // namespace

size_t terminal_width() {
    winsize size{};
    const char* told = std::getenv("COLUMNS");
    size_t width = told != nullptr ? std::strtoul(told, nullptr, 10) : 0;
    if (width == 0 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        width = size.ws_col;
    }
    return width == 0 ? kWidth : std::clamp(width, kWidthMin, kWidthMax);
}

bool output_is_terminal() { return ::isatty(STDOUT_FILENO) != 0; }

bool terminal_is_unicode() { return g_get_charset(nullptr) != FALSE; }

Result<void> confirm(const std::string& question, bool yes) {
    if (yes) {
        return {};
    }
    if (::isatty(STDIN_FILENO) == 0) {
        return Error{EPERM, question + "\nThere is no terminal to ask at: say --yes if that is what is wanted"};
    }
    std::fprintf(stderr, "%s\nGo on? [y/N] ", question.c_str());
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "y" && answer != "Y" && answer != "yes") {
        return Error{ECANCELED, "nothing was done"};
    }
    return {};
}

void catch_interrupts() {
    struct sigaction action {};
    action.sa_handler = [](int) { was_interrupted = 1; };  // without SA_RESTART: what waits ends
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return was_interrupted != 0; }

void pause_us(int64_t us) {
    const timespec time{us / 1'000'000, us % 1'000'000 * 1000};
    if (!interrupted()) {
        ::nanosleep(&time, nullptr);
    }
}

void Progress::show(const std::string& what, double share) {
    if (::isatty(STDERR_FILENO) == 0) {
        return;
    }
    const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * kBarWidth);
    std::fprintf(stderr, "\r%s [%.*s%*s] %3.0f%%", what.c_str(), full, "##############################", kBarWidth - full, "", share * 100);
    std::fflush(stderr);
    shown_ = true;
}

void Progress::clear() {
    if (shown_) {
        std::fprintf(stderr, "\r\033[K");
        shown_ = false;
    }
}

}  // namespace predsnap
