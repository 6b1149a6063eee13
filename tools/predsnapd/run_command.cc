// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>

#include <cstdio>

#include "commands.h"
#include "daemon.h"

namespace predsnap::predict {
namespace {

constexpr char kSummary[] =
    "Follows the access logs of disks, learns, and tells QEMU's predsnap nodes what comes next. Disks are named on\n"
    "the command line, --disk name=NAME,log=FILE[,qmp=SOCKET,node=NODE], or in a configuration file:\n\n"
    "  [daemon]\n"
    "  state=/var/lib/predsnapd\n"
    "  [disk vm1-root]\n"
    "  log=/var/log/predsnap/vm1-root.log\n"
    "  qmp=/run/vm1.qmp\n"
    "  node=disk0";

struct Arguments {
    gchar* config = nullptr;
    gchar* state = nullptr;
    gchar** disks = nullptr;
    gint tick = 10, train_every = 600, horizon = 60;
    gboolean once = FALSE, dry_run = FALSE, json = FALSE;
};

int refuse(const std::string& message) {
    std::fprintf(stderr, "predsnapd run: %s\n", message.c_str());
    return 2;
}

bool set_member(DiskConfig& disk, const std::string& key, const std::string& value) {
    std::string* member = key == "name"   ? &disk.name
                          : key == "log"  ? &disk.log
                          : key == "qmp"  ? &disk.qmp
                          : key == "node" ? &disk.node
                                          : nullptr;
    if (member != nullptr) {
        *member = value;
    }
    return member != nullptr;
}

// Empty: good.
std::string check(const std::vector<DiskConfig>& disks) {
    for (const DiskConfig& disk : disks) {
        if (disk.name.empty() || disk.log.empty() || disk.qmp.empty() != disk.node.empty()) {
            return "disk '" + disk.name + "': it needs name and log, and qmp and node, or neither of these";
        }
    }
    return disks.empty() ? "no disk is named: see --help" : "";
}

std::string parse_disk(const char* text, DiskConfig& disk) {
    std::string wrong;
    char** parts = g_strsplit(text, ",", -1);
    for (char** part = parts; *part != nullptr && wrong.empty(); ++part) {
        const std::string pair = *part;
        const size_t equals = pair.find('=');
        if (equals == std::string::npos || !set_member(disk, pair.substr(0, equals), pair.substr(equals + 1))) {
            wrong = "--disk: '" + pair + "' is none of name=, log=, qmp=, node=";
        }
    }
    g_strfreev(parts);
    return wrong;
}

std::string parse_group(GKeyFile* file, const std::string& group, DiskConfig& disk) {
    constexpr size_t kPrefix = 5;  // "disk "
    disk.name = group.substr(kPrefix);
    char** keys = g_key_file_get_keys(file, group.c_str(), nullptr, nullptr);
    std::string wrong;
    for (char** key = keys; key != nullptr && *key != nullptr && wrong.empty(); ++key) {
        char* value = g_key_file_get_string(file, group.c_str(), *key, nullptr);
        if (value == nullptr || !set_member(disk, *key, value)) {
            wrong = "[" + group + "]: '" + *key + "' is not known";
        }
        g_free(value);
    }
    g_strfreev(keys);
    return wrong;
}

std::string parse_config(const char* path, DaemonOptions& options) {
    GKeyFile* file = g_key_file_new();
    GError* error = nullptr;
    std::string wrong;
    if (g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error) == FALSE) {
        wrong = std::string(path) + ": " + error->message;
        g_error_free(error);
    } else {
        if (char* state = g_key_file_get_string(file, "daemon", "state", nullptr)) {
            options.state = state;
            g_free(state);
        }
        char** groups = g_key_file_get_groups(file, nullptr);
        for (char** group = groups; *group != nullptr && wrong.empty(); ++group) {
            if (g_str_has_prefix(*group, "disk ")) {
                wrong = parse_group(file, *group, options.disks.emplace_back());
            } else if (g_strcmp0(*group, "daemon") != 0) {
                wrong = std::string(path) + ": group [" + *group + "] is neither [daemon] nor [disk NAME]";
            }
        }
        g_strfreev(groups);
    }
    g_key_file_free(file);
    return wrong;
}

std::string to_options(const Arguments& arguments, DaemonOptions& options) {
    std::string wrong = arguments.config != nullptr ? parse_config(arguments.config, options) : "";
    for (char** disk = arguments.disks; disk != nullptr && *disk != nullptr && wrong.empty(); ++disk) {
        wrong = parse_disk(*disk, options.disks.emplace_back());
    }
    if (arguments.state != nullptr) {
        options.state = arguments.state;
    }
    if (arguments.tick < 1 || arguments.train_every < 1) {
        return "--tick and --train-every are at least 1";
    }
    if (arguments.horizon != 10 && arguments.horizon != 60 && arguments.horizon != 600) {
        return "--horizon is 10, 60 or 600";
    }
    options.tick_us = arguments.tick * kSecond;
    options.train_every_us = arguments.train_every * kSecond;
    options.horizon_us = arguments.horizon * kSecond;
    options.once = arguments.once != FALSE;
    options.dry_run = arguments.dry_run != FALSE;
    options.json = arguments.json != FALSE;
    return wrong.empty() ? check(options.disks) : wrong;
}

}  // namespace

int run_command(int argc, char** argv) {
    Arguments arguments;
    const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &arguments.config, "Configuration file", "FILE"},
        {"state", 0, 0, G_OPTION_ARG_FILENAME, &arguments.state, "Folder of the models (/var/lib/predsnapd)", "DIR"},
        {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &arguments.disks, "A disk; may be repeated", "name=...,log=..."},
        {"tick", 0, 0, G_OPTION_ARG_INT, &arguments.tick, "Seconds between predictions (10)", "S"},
        {"train-every", 0, 0, G_OPTION_ARG_INT, &arguments.train_every, "Seconds between trainings of a disk (600)", "S"},
        {"horizon", 0, 0, G_OPTION_ARG_INT, &arguments.horizon, "Seconds ahead that QEMU is told of: 10, 60, 600 (60)", "S"},
        {"once", 0, 0, G_OPTION_ARG_NONE, &arguments.once, "Read the logs, train, predict from their end on, and stop", nullptr},
        {"dry-run", 0, 0, G_OPTION_ARG_NONE, &arguments.dry_run, "Tell nobody", nullptr},
        {"json", 0, 0, G_OPTION_ARG_NONE, &arguments.json, "Print what is told, an object a line", nullptr},
        {nullptr, 0, 0, G_OPTION_ARG_NONE, nullptr, nullptr, nullptr},
    };
    GOptionContext* context = g_option_context_new("- predict what guests do next");
    g_option_context_set_summary(context, kSummary);
    g_option_context_add_main_entries(context, entries, nullptr);
    GError* error = nullptr;
    const bool parsed = g_option_context_parse(context, &argc, &argv, &error) != FALSE;
    g_option_context_free(context);
    if (!parsed) {
        const std::string message = error->message;
        g_error_free(error);
        return refuse(message);
    }
    DaemonOptions options;
    const std::string wrong = to_options(arguments, options);
    g_free(arguments.config);
    g_free(arguments.state);
    g_strfreev(arguments.disks);
    return wrong.empty() ? run_daemon(options) : refuse(wrong);
}

}  // namespace predsnap::predict
