// SPDX-License-Identifier: GPL-2.0-or-later
#include "run_program.h"

#include <glib.h>
#include <sys/wait.h>

namespace predsnap {

Result<Ran> run_program(const std::vector<std::string>& words, Output to) {
    std::vector<char*> command;
    for (const std::string& word : words) {
        command.push_back(const_cast<char*>(word.c_str()));
    }
    command.push_back(nullptr);
    char *output = nullptr, *errors = nullptr;
    gint status = 0;
    GError* error = nullptr;
    char** const taken = to == Output::taken ? &output : nullptr;
    const int flags = G_SPAWN_SEARCH_PATH | (to == Output::shown ? G_SPAWN_CHILD_INHERITS_STDOUT : 0);
    if (g_spawn_sync(nullptr, command.data(), nullptr, static_cast<GSpawnFlags>(flags), nullptr, nullptr, taken, &errors, &status, &error) == FALSE) {
        const std::string message = error->message;
        g_error_free(error);
        return Error{EIO, words[0] + ": " + message};
    }
    Ran ran{WIFEXITED(status) ? WEXITSTATUS(status) : -1, output != nullptr ? output : "", errors};
    g_free(output);
    g_free(errors);
    return ran;
}

}  // namespace predsnap
