// SPDX-License-Identifier: GPL-2.0-or-later
#include "run_program.h"

#include <glib.h>
#include <sys/wait.h>

namespace predsnap {

Result<Ran> run_program(const std::vector<std::string>& words) {
    std::vector<char*> command;
    for (const std::string& word : words) {
        command.push_back(const_cast<char*>(word.c_str()));
    }
    command.push_back(nullptr);
    char *output = nullptr, *errors = nullptr;
    gint status = 0;
    GError* error = nullptr;
    if (g_spawn_sync(nullptr, command.data(), nullptr, G_SPAWN_SEARCH_PATH, nullptr, nullptr, &output, &errors, &status, &error) == FALSE) {
        const std::string message = error->message;
        g_error_free(error);
        return Error{EIO, words[0] + ": " + message};
    }
    Ran ran{WIFEXITED(status) ? WEXITSTATUS(status) : -1, output, errors};
    g_free(output);
    g_free(errors);
    return ran;
}

}  // namespace predsnap
