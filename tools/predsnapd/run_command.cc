// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>

#include <cstdio>

#include "commands.h"
#include "daemon.h"

namespace predsnap::predict {
namespace {

constexpr char kSummary[] =
    "Follows the access logs of disks, learns, and tells QEMU's predsnap nodes what comes next. Disks are named on\n"
    "the command line, --disk name=NAME,log=FILE[,qmp=SOCKET|domain=DOMAIN,node=NODE][,weight=0..10], in a\n"
    "configuration file, in drop-in files, or by the metadata of libvirt's domains:\n\n"
    "  [daemon]\n"
    "  state=/var/lib/predsnapd\n"
    "  drop-ins=/run/predsnap/disks.d\n"
    "  libvirt=qemu:///system\n"
    "  metrics=/run/predsnapd/metrics.sock\n"
    "  [disk vm1-root]\n"
    "  log=/var/log/predsnap/vm1-root.log\n"
    "  qmp=/run/vm1.qmp\n"
    "  node=disk0\n\n"
    "SIGHUP reads the files again.";

struct Arguments {
    gchar* config = nullptr;
    gchar* state = nullptr;
    gchar* metrics = nullptr;
    gchar* drop_ins = nullptr;
    gchar* libvirt = nullptr;
    gchar** disks = nullptr;
    gint tick = 0, train_every = 0, horizon = 0;  // 0: as the file says
    gboolean once = FALSE, dry_run = FALSE, json = FALSE, check = FALSE;
};

int refuse(const std::string& message) {
    std::fprintf(stderr, "predsnapd run: %s\n", message.c_str());
    return 2;
}

void replace(std::string& member, const gchar* by) {
    if (by != nullptr) {
        member = by;
    }
}

void replace(int64_t& member_us, gint by_s) {
    if (by_s != 0) {
        member_us = by_s * kSecond;
    }
}

// What the command line says goes before what the file says.
Result<DaemonOptions> to_options(const Arguments& arguments) {
    DaemonOptions options;
    if (arguments.config != nullptr) {
        TRY(read_config(arguments.config, options));
    }
    for (char** disk = arguments.disks; disk != nullptr && *disk != nullptr; ++disk) {
        TRY_ASSIGN(DiskConfig config, parse_disk(*disk));
        options.disks.push_back(std::move(config));
    }
    replace(options.state, arguments.state);
    replace(options.metrics, arguments.metrics);
    replace(options.drop_ins, arguments.drop_ins);
    replace(options.libvirt, arguments.libvirt);
    replace(options.tick_us, arguments.tick);
    replace(options.train_every_us, arguments.train_every);
    replace(options.horizon_us, arguments.horizon);
    options.once = arguments.once != FALSE;
    options.dry_run = arguments.dry_run != FALSE;
    options.json = arguments.json != FALSE;
    TRY(check(options));
    return options;
}

}  // namespace

int run_command(int argc, char** argv) {
    Arguments arguments;
    const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &arguments.config, "Configuration file", "FILE"},
        {"state", 0, 0, G_OPTION_ARG_FILENAME, &arguments.state, "Folder of the models (/var/lib/predsnapd)", "DIR"},
        {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &arguments.disks, "A disk; may be repeated", "name=...,log=..."},
        {"drop-ins", 0, 0, G_OPTION_ARG_FILENAME, &arguments.drop_ins, "Folder of further files *.conf that name disks", "DIR"},
        {"libvirt", 0, 0, G_OPTION_ARG_STRING, &arguments.libvirt, "Watch the disks that libvirt's domains name in their metadata", "URI"},
        {"metrics", 0, 0, G_OPTION_ARG_STRING, &arguments.metrics, "Serve metrics: a Unix socket's path, or 127.0.0.1:PORT", "ADDRESS"},
        {"tick", 0, 0, G_OPTION_ARG_INT, &arguments.tick, "Seconds between predictions (10)", "S"},
        {"train-every", 0, 0, G_OPTION_ARG_INT, &arguments.train_every, "Seconds between trainings of a disk (600)", "S"},
        {"horizon", 0, 0, G_OPTION_ARG_INT, &arguments.horizon, "Seconds ahead that QEMU is told of: 10, 60, 600 (60)", "S"},
        {"once", 0, 0, G_OPTION_ARG_NONE, &arguments.once, "Read the logs, train, predict from their end on, and stop", nullptr},
        {"dry-run", 0, 0, G_OPTION_ARG_NONE, &arguments.dry_run, "Tell nobody", nullptr},
        {"check", 0, 0, G_OPTION_ARG_NONE, &arguments.check, "Only check the configuration", nullptr},
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
    const Result<DaemonOptions> options = to_options(arguments);
    if (!options.ok()) {
        return refuse(options.error().message);
    }
    if (arguments.check) {
        std::printf("the configuration is good: %zu disks\n", options.value().disks.size());
        return 0;
    }
    // Its strings stay: SIGHUP reads the file again.
    return run_daemon(options.value(), [arguments] { return to_options(arguments); });
}

}  // namespace predsnap::predict
