// SPDX-License-Identifier: GPL-2.0-or-later
//
// Replays a trace on an NBD export. Commands come from standard input, one a line, each is answered
// with a line of JSON, so that whoever drives it can make a point between two of them; see usage().
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "arguments.h"
#include "player.h"

namespace predsnap::replay {
namespace {

[[noreturn]] void usage() {
    std::printf(
        "usage: replay-client TRACE --describe [OPTION...]\n"
        "       replay-client TRACE --uri URI [OPTION...] < COMMANDS\n\n"
        "Replays a trace of block I/O (CSV, also in zstd) on an NBD export that begins as zeros, "
        "with content\n"
        "that follows from a seed, and compares what it reads with that.\n\n"
        "  --describe          only say what the trace needs, as JSON\n"
        "  --uri URI           of the export, such as nbd+unix:///disk?socket=PATH\n"
        "  --depth N           requests in flight at most (32)\n"
        "  --speed X           pace: 1 as in the trace, 10 ten times faster; 0: none, as fast as "
        "it goes (0)\n"
        "  --flush-every S     flush after each so many seconds of the trace; 0: only after run "
        "(5)\n"
        "%s\n"
        "Commands; an answer has \"error\" if one failed, and then the program ends:\n"
        "  run SECONDS         replay what the trace holds before that time; wait for it, and "
        "flush\n"
        "  keep NAME           remember what the disk must hold now\n"
        "  verify NAME URI     compare an export with what was remembered; the name 'now': with "
        "what must\n"
        "                      be there now\n"
        "  forget NAME\n"
        "  measures            requests, bytes and latencies so far\n",
        kSourceUsage);
    std::exit(0);
}

struct Options {
    SourceOptions source;
    PlayerOptions player;
    std::string uri;
    bool describe = false;
};

Options parse(int argc, char** argv) {
    if (argc > 1 && std::strcmp(argv[1], "--help") == 0) {
        usage();
    }
    Options options;
    options.player.flush_every_us = 5'000'000;
    Arguments arguments(options.source);
    arguments.flag("--describe", options.describe);
    arguments.option("--uri", [&](std::string_view value) -> Result<void> {
        options.uri = value;
        return {};
    });
    arguments.option("--depth", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.player.depth, Arguments::whole(value, 1, 1024));
        return {};
    });
    arguments.option("--speed", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(options.player.speed, Arguments::number(value, 0, 1e6));
        return {};
    });
    arguments.option("--flush-every", [&](std::string_view value) -> Result<void> {
        TRY_ASSIGN(const double seconds, Arguments::number(value, 0, 1e9));
        options.player.flush_every_us = static_cast<int64_t>(seconds * 1e6);
        return {};
    });
    must(arguments.parse(argc, argv));
    if (options.uri.empty() && !options.describe) {
        fail(Error{EINVAL, "--uri is missing, see --help"});
    }
    return options;
}

void describe(const Placement& placement) {
    JsonObject object;
    object.add("disk_size", placement.disk_size()).add("dense", placement.dense());
    object.add("requests", placement.requests()).add("writes", placement.writes());
    object.add("written_bytes", placement.written_bytes()).add("span_us", placement.span_us());
    std::printf("%s\n", object.text().c_str());
}

// Carries out commands.
class Client {
  public:
    Client(Source& source, DiskModel& model, NbdDisk& disk, const PlayerOptions& options)
        : model_(model), player_(source, model, disk, options) {}

    Result<std::string> command(const std::string& line) {
        std::istringstream words(line);
        std::string name, first, second, rest;
        words >> name >> first >> second >> rest;
        if (name == "run" && !first.empty() && second.empty()) {
            return run(first);
        }
        if (name == "keep" && !first.empty() && first != "now" && second.empty()) {
            kept_.erase(first);
            kept_.emplace(first, model_);
            return JsonObject().text();
        }
        if (name == "forget" && second.empty() && kept_.erase(first) == 1) {
            return JsonObject().text();
        }
        if (name == "verify" && !second.empty() && rest.empty()) {
            return verify_export(first, second);
        }
        if (name == "measures" && first.empty()) {
            return player_.measures().json();
        }
        return Error{EINVAL,
                     "'" + line + "' is no command, or names nothing that was kept: see --help"};
    }

  private:
    Result<std::string> run(const std::string& seconds) {
        TRY_ASSIGN(const double until, Arguments::number(seconds, 0, 1e12));
        TRY(player_.run(static_cast<int64_t>(until * 1e6)));
        return JsonObject()
            .add("ended", player_.ended())
            .add("written_bytes", player_.measures().writes.bytes())
            .text();
    }

    Result<std::string> verify_export(const std::string& name, const std::string& uri) {
        const auto kept = kept_.find(name);
        if (name != "now" && kept == kept_.end()) {
            return Error{EINVAL, "nothing was kept under the name '" + name + "'"};
        }
        TRY_ASSIGN(NbdDisk disk, NbdDisk::connect(uri));
        const Result<uint64_t> read = verify(disk, name == "now" ? model_ : kept->second);
        if (!read.ok()) {
            return Error{read.error().code, uri + ", " + name + ": " + read.error().message};
        }
        return JsonObject().add("verified_bytes", read.value()).text();
    }

    DiskModel& model_;
    Player player_;
    std::map<std::string, DiskModel> kept_;
};

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            result += '\\';
        }
        result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return result + "\"";
}

int main(int argc, char** argv) {
    const Options options = parse(argc, argv);
    Source source = must(Source::open(options.source));
    if (options.describe) {
        describe(source.placement());
        return 0;
    }
    NbdDisk disk = must(NbdDisk::connect(options.uri));
    if (disk.size() < source.placement().disk_size()) {
        fail(Error{EINVAL, options.uri + " has " + std::to_string(disk.size()) +
                               " bytes; the trace needs " +
                               std::to_string(source.placement().disk_size())});
    }
    DiskModel model(source.placement().disk_size(), options.source.content);
    Client client(source, model, disk, options.player);
    for (std::string line; std::getline(std::cin, line);) {
        const Result<std::string> answer = client.command(line);
        if (!answer.ok()) {
            std::printf("{\"error\": %s}\n", quoted(answer.error().message).c_str());
            std::fflush(stdout);
            return 1;
        }
        std::printf("%s\n", answer.value().c_str());
        std::fflush(stdout);
    }
    return 0;
}

}  // namespace
}  // namespace predsnap::replay

int main(int argc, char** argv) {
    return predsnap::replay::main(argc, argv);
}
