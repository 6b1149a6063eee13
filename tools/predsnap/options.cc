// SPDX-License-Identifier: GPL-2.0-or-later
#include "options.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "commands.h"

namespace predsnap {

const char kTargetHelp[] =
    "TARGET is a disk, named in one of these ways:\n"
    "  DOMAIN[:DISK]         of a libvirt domain (vm1, vm1:vda); also --domain DOMAIN --disk DISK\n"
    "  PATH                  with a / in it (./disk.pds): an image that no virtual machine uses, or a monitor's socket;\n"
    "                        also --image FILE, or --qmp SOCKET\n"
    "  --node NODE           of several nodes of a monitor, this one\n";

struct Options::Entry {
    std::string name;
    char letter;
    const char *help, *placeholder;  // no placeholder: a flag
    bool* flag = nullptr;
    std::string* text = nullptr;
    int64_t* number = nullptr;
};

std::string absolute(const std::string& path) {
    if (path.empty()) {
        return path;
    }
    char* made = g_canonicalize_filename(path.c_str(), nullptr);
    std::string result = made;
    g_free(made);
    return result;
}

Options::Options(const char* usage, std::string summary)
    : usage_(usage), command_("predsnap " + usage_.substr(0, usage_.find(' '))), summary_(std::move(summary)) {}

Options::~Options() = default;

void Options::add(Entry entry) { entries_.push_back(std::move(entry)); }

Options& Options::flag(const char* name, bool* value, const char* help, char letter) {
    add({.name = name, .letter = letter, .help = help, .placeholder = nullptr, .flag = value});
    return *this;
}

Options& Options::text(const char* name, std::string* value, const char* help, const char* placeholder, char letter) {
    add({.name = name, .letter = letter, .help = help, .placeholder = placeholder, .text = value});
    return *this;
}

Options& Options::number(const char* name, int64_t* value, const char* help, const char* placeholder, char letter) {
    add({.name = name, .letter = letter, .help = help, .placeholder = placeholder, .number = value});
    return *this;
}

Options& Options::target(TargetOptions* target) {
    target_ = target;
    return text("domain", &target->domain, "Libvirt domain: name, UUID or number", "DOMAIN")
        .text("disk", &target->disk, "Disk of the domain: target (vda), alias or source", "DISK")
        .text("connect", &target->connect, "Libvirt's URI (default: libvirt's own)", "URI", 'c')
        .text("qmp", &target->qmp, "Socket of QEMU's or qemu-storage-daemon's monitor", "SOCKET")
        .text("node", &target->node, "Name of the block node", "NODE")
        .text("image", &target->image, "Image that nobody uses", "FILE")
        .text("capacity", &target->capacity, "Capacity image that belongs to it", "FILE");
}

namespace {

// Times such as -2h are arguments, which GLib would take for options: while it parses, they begin otherwise.
constexpr char kPast = '\x1f';

void hide_past(char* argument) {
    if (argument[0] == '-' && g_ascii_isdigit(argument[1])) {
        argument[0] = kPast;
    }
}

std::string show_past(std::string argument) {
    if (!argument.empty() && argument[0] == kPast) {
        argument[0] = '-';
    }
    return argument;
}

}  // namespace

gboolean Options::given(const gchar* name, const gchar* value, gpointer self, GError** error) {
    const std::string shown = value != nullptr ? show_past(value) : "";
    return static_cast<Options*>(self)->set(name, shown.c_str(), error) ? TRUE : FALSE;
}

bool Options::set(const std::string& name, const char* value, GError** error) {
    for (Entry& entry : entries_) {
        const bool is_short = name.size() == 2 && entry.letter != 0 && name[1] == entry.letter;
        if (!is_short && name != "--" + entry.name) {
            continue;
        }
        if (entry.flag != nullptr) {
            *entry.flag = true;
        } else if (entry.text != nullptr) {
            *entry.text = value;
        } else if (char* end = nullptr; true) {
            *entry.number = g_ascii_strtoll(value, &end, 10);
            if (end == value || *end != '\0') {
                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s takes a number, not '%s'", name.c_str(), value);
                return false;
            }
        }
        return true;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "%s is not known", name.c_str());
    return false;
}

bool Options::parse(int argc, char** argv) {
    std::for_each(argv + 1, argv + argc, hide_past);
    std::vector<GOptionEntry> list;
    for (const Entry& entry : entries_) {
        list.push_back({entry.name.c_str(), entry.letter, entry.flag != nullptr ? G_OPTION_FLAG_NO_ARG : 0, G_OPTION_ARG_CALLBACK,
                        reinterpret_cast<gpointer>(given), entry.help, entry.placeholder});
    }
    list.push_back({});
    g_set_prgname("predsnap");
    GOptionContext* context = g_option_context_new(nullptr);
    GOptionGroup* group = g_option_group_new("main", "", "", this, nullptr);
    g_option_group_add_entries(group, list.data());
    g_option_context_set_main_group(context, group);
    std::string help = summary_;
    if (target_ != nullptr) {
        help += std::string("\n\n") + kTargetHelp;
    }
    g_option_context_set_summary(context, help.c_str());
    std::string name = command_;
    argv[0] = name.data();
    g_set_prgname(("predsnap " + usage_).c_str());
    GError* error = nullptr;
    const bool parsed = g_option_context_parse(context, &argc, &argv, &error) != FALSE;
    g_option_context_free(context);
    if (!parsed) {
        misused(error->message);
        g_error_free(error);
        return false;
    }
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--") != 0) {
            arguments_.push_back(show_past(argv[i]));
        }
    }
    if (word_ != nullptr) {
        *word_ = take();
    }
    return target_ == nullptr || target_is_optional_ || name_target();
}

// One way of naming the target, and only one.
bool Options::name_target() {
    TargetOptions& target = *target_;
    int ways = static_cast<int>(!target.domain.empty()) + static_cast<int>(!target.qmp.empty()) +
               static_cast<int>(!target.image.empty());
    if (ways > 1) {
        misused("--domain, --qmp and --image exclude each other");
        return false;
    }
    if (ways == 1) {
        return true;
    }
    const std::string word = take();
    if (word.empty()) {
        misused("no target is named: a domain, an image, or a monitor's socket");
        return false;
    }
    struct stat at_path {};
    if (word.find('/') == std::string::npos) {
        const size_t colon = word.find(':');
        target.domain = word.substr(0, colon);
        if (colon != std::string::npos && target.disk.empty()) {
            target.disk = word.substr(colon + 1);
        }
    } else if (::stat(word.c_str(), &at_path) == 0 && S_ISSOCK(at_path.st_mode)) {
        target.qmp = word;
    } else {
        target.image = word;
    }
    return true;
}

std::string Options::take() {
    if (arguments_.empty()) {
        return "";
    }
    std::string first = arguments_[0];
    arguments_.erase(arguments_.begin());
    return first;
}

bool Options::finish() {
    if (!arguments_.empty()) {
        misused("'" + arguments_[0] + "' is one argument too many");
    }
    return arguments_.empty();
}

int Options::misused(const std::string& what) const {
    std::fprintf(stderr, "%s: %s\n(see %s --help)\n", command_.c_str(), what.c_str(), command_.c_str());
    return kMisused;
}

}  // namespace predsnap
