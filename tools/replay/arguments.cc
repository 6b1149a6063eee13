// SPDX-License-Identifier: GPL-2.0-or-later
#include "arguments.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace predsnap::replay {

const char kSourceUsage[] =
    "  --align             move requests that begin at sector 7 of 8 down by 63 sectors: mends a\n"
    "                      trace of a disk whose partition began at sector 63\n"
    "  --dense             put the 1 MiB regions that are touched side by side; always so if the\n"
    "                      disk would be larger than 256 GiB\n"
    "  --until SECONDS     only what the trace holds before that\n"
    "  --seed N            of the content (1)\n"
    "  --changed SHARE     of a database page's bytes that a rewrite changes (0.05)\n"
    "  --mix D:T:R         percent of the disk that is database, text, random (60:25:15)\n";

void fail(const Error& error) {
    std::fflush(stdout);
    const char* why = error.message.empty() ? std::strerror(error.code) : error.message.c_str();
    std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, why);
    std::exit(1);
}

Arguments::Arguments(SourceOptions& options) : source_(options) {
    flag("--align", source_.placement.align);
    flag("--dense", source_.placement.dense);
    option("--until", [this](std::string_view value) -> Result<void> {
        TRY_ASSIGN(const double seconds, number(value, 0, 1e12));
        source_.placement.until_us = static_cast<int64_t>(seconds * 1e6);
        return {};
    });
    option("--seed", [this](std::string_view value) -> Result<void> {
        TRY_ASSIGN(source_.content.seed, whole(value, 0, UINT64_MAX));
        return {};
    });
    option("--changed", [this](std::string_view value) -> Result<void> {
        TRY_ASSIGN(source_.content.changed, number(value, 0.001, 1));
        return {};
    });
    option("--mix", [this](std::string_view value) { return take_mix(value); });
}

Result<void> Arguments::take_mix(std::string_view value) {
    unsigned parts[3] = {};
    int end = 0;
    const std::string text(value);
    if (std::sscanf(text.c_str(), "%u:%u:%u%n", &parts[0], &parts[1], &parts[2], &end) != 3 ||
        static_cast<size_t>(end) != text.size() || parts[0] > 100 || parts[1] > 100 ||
        parts[0] + parts[1] + parts[2] != 100) {
        return Error{EINVAL, "'" + text + "' is not a mix such as 60:25:15, whose sum is 100"};
    }
    source_.content.database_percent = parts[0];
    source_.content.text_percent = parts[1];
    return {};
}

Result<void> Arguments::parse(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (const auto flag = flags_.find(name); flag != flags_.end()) {
            *flag->second = true;
        } else if (const auto option = options_.find(name); option != options_.end()) {
            if (i + 1 == argc) {
                return Error{EINVAL, option->first + ": a value is missing"};
            }
            if (const Result<void> taken = option->second(argv[++i]); !taken.ok()) {
                return Error{EINVAL, option->first + ": " + taken.error().message};
            }
        } else if (name.starts_with("--") || !source_.trace.empty()) {
            return Error{EINVAL, "'" + std::string(name) + "': no such option, see --help"};
        } else {
            source_.trace = name;
        }
    }
    return source_.trace.empty() ? Error{EINVAL, "a trace is missing, see --help"} : Result<void>();
}

Result<double> Arguments::number(std::string_view text, double low, double high) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() ||
        !(value >= low && value <= high)) {
        char what[128];
        std::snprintf(what, sizeof(what), "'%.*s' is not a number from %g to %g",
                      static_cast<int>(std::min<size_t>(text.size(), 40)), text.data(), low, high);
        return Error{EINVAL, what};
    }
    return value;
}

Result<uint64_t> Arguments::whole(std::string_view text, uint64_t low, uint64_t high) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
        return Error{EINVAL, "'" + std::string(text) + "' is not a whole number from " +
                                 std::to_string(low) + " to " + std::to_string(high)};
    }
    return value;
}

}  // namespace predsnap::replay
