// SPDX-License-Identifier: GPL-2.0-or-later
#include "programs.h"

#include <glib.h>

namespace predsnap::hook {
namespace {

std::string take(char* text) {
    std::string taken = text != nullptr ? text : "";
    g_free(text);
    while (!taken.empty() && taken.back() == '\n') {
        taken.pop_back();
    }
    return taken;
}

}  // namespace

Result<std::string> run_program(const std::vector<std::string>& arguments) {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
        argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    char* output = nullptr;
    char* said = nullptr;
    int status = 0;
    GError* error = nullptr;
    const bool ran = g_spawn_sync("/", argv.data(), nullptr, G_SPAWN_DEFAULT, nullptr, nullptr, &output, &said, &status,
                                  &error) != FALSE &&
                     g_spawn_check_wait_status(status, &error) != FALSE;
    const std::string printed = take(output);
    std::string why = take(said);
    if (!ran) {
        if (why.empty()) {
            why = error->message;
        }
        g_error_free(error);
        return Error{ECHILD, why};
    }
    return printed;
}

}  // namespace predsnap::hook
