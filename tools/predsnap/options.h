// SPDX-License-Identifier: GPL-2.0-or-later
//
// Options of a command, parsed by GLib. Also how a target is named: the options below, or its first
// argument.
#pragma once

#include <glib.h>

#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap {

extern const char kTargetHelp[];

// How the user named what to work on; target.h opens it.
struct TargetOptions {
    std::string domain, disk;  // a libvirt domain, one of its disks
    std::string connect;       // libvirt's URI; empty: its default
    std::string qmp, node;     // a monitor's socket, a node there
    std::string image;         // an image that nobody uses
    std::string capacity;      // its capacity image, if it has one
};

// A path the user gave, for processes whose working folder is another: QEMU's, and whoever reads a definition later. Nothing
// stays nothing.
std::string absolute(const std::string& path);

class Options {
  public:
    // `usage`: what follows the program's name, such as "points TARGET". Both texts are for --help.
    Options(const char* usage, std::string summary);
    Options(const Options&) = delete;
    ~Options();

    // Each takes the name without dashes, and a help text; what is not given stays as it was.
    Options& flag(const char* name, bool* value, const char* help, char letter = 0);
    Options& text(const char* name, std::string* value, const char* help, const char* placeholder, char letter = 0);
    Options& number(const char* name, int64_t* value, const char* help, const char* placeholder, char letter = 0);
    // --json
    Options& json(bool* value) { return flag("json", value, "Print JSON"); }
    // A word before the target: what to do, of several.
    Options& word(std::string* value) {
        word_ = value;
        return *this;
    }
    // --domain, --disk, --connect, --qmp, --node, --image, --capacity; or else the first argument.
    Options& target(TargetOptions* target);

    // No target need be named.
    Options& optional_target(bool optional) {
        target_is_optional_ = optional;
        return *this;
    }

    // What is left are the arguments. False: the program ends with kMisused; it was said why.
    bool parse(int argc, char** argv);
    // Takes the next argument away; empty if there is none.
    std::string take();
    // Complains of arguments that are left.
    bool finish();
    // Says what is wrong; gives the status.
    int misused(const std::string& what) const;

  private:
    struct Entry;
    void add(Entry entry);
    bool set(const std::string& name, const char* value, GError** error);
    static gboolean given(const gchar* name, const gchar* value, gpointer self, GError** error);
    bool name_target();

    const std::string usage_, command_;
    const std::string summary_;
    std::vector<Entry> entries_;
    std::vector<std::string> arguments_;
    TargetOptions* target_ = nullptr;
    bool target_is_optional_ = false;
    std::string* word_ = nullptr;
};

}  // namespace predsnap
