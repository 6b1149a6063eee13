// SPDX-License-Identifier: GPL-2.0-or-later
#include "show.h"

#include <cstdio>
#include <cstring>
#include <iterator>

#include "block/engine/text.h"
#include "commands.h"

namespace predsnap {

std::string show_bytes(uint64_t bytes) {
    constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = static_cast<double>(bytes);
    size_t unit = 0;
    while (value >= 1023.5 && unit + 1 < std::size(kUnits)) {
        value /= 1024;
        ++unit;
    }
    const bool whole = value >= 99.95 || value == static_cast<double>(static_cast<uint64_t>(value));
    return whole ? text("%.0f %s", value, kUnits[unit]) : text("%.1f %s", value, kUnits[unit]);
}

std::string show_count(uint64_t count) {
    std::string digits = std::to_string(count);
    for (size_t at = digits.size(); at > 3;) {
        at -= 3;
        digits.insert(at, ",");
    }
    return digits;
}

std::string show_span(int64_t us) {
    struct Unit {
        int64_t us;
        const char* name;
    };
    constexpr Unit kUnits[] = {{86'400'000'000, "d"}, {3'600'000'000, "h"}, {60'000'000, "min"}};
    for (const Unit& unit : kUnits) {
        if (us >= unit.us) {
            const Unit& next = *(&unit + 1 == std::end(kUnits) ? &unit : &unit + 1);
            const bool seconds = &next == &unit;
            const int64_t rest = seconds ? us % unit.us / 1'000'000 : us % unit.us / next.us;
            const std::string whole = text("%lld %s", static_cast<long long>(us / unit.us), unit.name);
            return rest == 0 ? whole : whole + text(" %lld %s", static_cast<long long>(rest), seconds ? "s" : next.name);
        }
    }
    const auto value = static_cast<double>(us);
    return us >= 1'000'000 ? text("%.3g s", value * 1e-6) : us >= 1000 ? text("%.3g ms", value * 1e-3) : text("%.0f us", value);
}

void print_json(const Json& value) { std::printf("%s\n", value.text(true).c_str()); }

int fail(const char* command, const Error& error) {
    std::fprintf(stderr, "predsnap %s: %s\n", command, error.message.empty() ? std::strerror(error.code) : error.message.c_str());
    return kFailed;
}

}  // namespace predsnap
