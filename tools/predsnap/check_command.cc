// SPDX-License-Identifier: GPL-2.0-or-later
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "commands.h"
#include "options.h"
#include "run_program.h"
#include "show.h"
#include "storage_daemon.h"
#include "target.h"
#include "terminal.h"

namespace predsnap {
namespace {

// Exit statuses of qemu-img check.
constexpr int kSound = 0, kNotChecked = 1, kLeaks = 3;

struct Arguments {
    TargetOptions target;
    bool repair = false, yes = false, json = false;
};

std::string escaped(const std::string& path) {
    std::string result;
    for (const char c : path) {
        result += c == ',' ? ",," : std::string(1, c);
    }
    return result;
}

Result<Ran> run_check(const Arguments& arguments) {
    TRY_ASSIGN(const std::string program, find_qemu_program("qemu-img"));
    std::vector<std::string> command = {program, "check", "--output=json"};
    if (arguments.repair) {
        command.insert(command.end(), {"-r", "all"});
    }
    std::string options = "driver=predsnap,file.filename=" + escaped(arguments.target.image);
    if (!arguments.target.capacity.empty()) {
        options += ",capacity.filename=" + escaped(arguments.target.capacity);
    }
    command.insert(command.end(), {"--image-opts", options});
    return run_program(command);
}

void print(const Json& report, const std::string& image, const std::string& findings) {
    const int64_t corruptions = report["corruptions"].integer(), errors = report["check-errors"].integer(), leaks = report["leaks"].integer();
    if (!findings.empty()) {
        std::printf("%s", findings.c_str());
    }
    if (corruptions == 0 && errors == 0) {
        std::printf("image '%s' is sound: all of it was read, its history included\n", image.c_str());
    } else {
        std::printf("image '%s': %s damaged place%s, %s error%s\n", image.c_str(), show_count(static_cast<uint64_t>(corruptions)).c_str(),
                    corruptions == 1 ? "" : "s", show_count(static_cast<uint64_t>(errors)).c_str(), errors == 1 ? "" : "s");
        std::printf("What is damaged is answered with I/O errors, the rest can be used. Take the data from an earlier moment, or write it anew.\n");
    }
    if (leaks > 0) {
        std::printf("%s that nothing refers to\n", show_bytes(static_cast<uint64_t>(leaks)).c_str());
    }
}

Result<int> check(const Arguments& arguments) {
    const std::string& image = arguments.target.image;
    if (image.empty()) {
        return Error{EINVAL, "an image is checked while nobody uses it: end the machine, and name the image (--image FILE)"};
    }
    if (::access(image.c_str(), R_OK) != 0) {
        return Error{errno, "image '" + image + "': " + std::strerror(errno)};
    }
    if (arguments.repair) {
        TRY(confirm("An image that cannot be opened is made usable by removing what is damaged at the end of its history, for good.\nIs there a copy of '" +
                        image + "'?", arguments.yes));
    }
    TRY_ASSIGN(const Ran ran, run_check(arguments));
    const auto report = Json::parse(ran.output);
    if (!report.ok() || ran.status == kNotChecked) {
        const bool used = ran.errors.find("lock") != std::string::npos;
        return used ? Error{EBUSY, "image '" + image + "' is in use by " + users_of(image) + ": it is checked while nobody uses it"}
                    : Error{EIO, "image '" + image + "' cannot be checked: " + ran.errors};
    }
    if (arguments.json) {
        print_json(report.value());
    } else {
        print(report.value(), image, ran.errors);
    }
    return ran.status == kSound || ran.status == kLeaks ? 0 : kFailed;
}

}  // namespace

int check_command(int argc, char** argv) {
    Arguments arguments;
    Options options("check IMAGE",
                    "Reads and verifies the whole of an image that nobody uses, its history included, and says what is damaged.\n"
                    "The status is 1 if anything is.");
    options.target(&arguments.target)
        .flag("repair", &arguments.repair, "Make an image usable that cannot be opened any more; data that is damaged is not mended")
        .flag("yes", &arguments.yes, "Do not ask (with --repair)", 'y')
        .json(&arguments.json);
    if (!options.parse(argc, argv) || !options.finish()) {
        return kMisused;
    }
    const Result<int> done = check(arguments);
    return done.ok() ? done.value() : fail("check", done.error());
}

}  // namespace predsnap
