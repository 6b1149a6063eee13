// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is known of a disk's host and its application when something is predicted, beside its requests.
#pragma once

#include <limits>
#include <string>

namespace predsnap::predict {

// NaN: not known.
struct Surroundings {
    static constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();
    // Shares, 0 to 1, of the last ten seconds in which something on the host waited for I/O, and for a processor.
    float io_pressure = kUnknown, cpu_pressure = kUnknown;
    float weight = kUnknown;  // how critical the application is, 0 to 10
};

// The host's as Linux tells them (pressure stall information). What it does not tell stays unknown.
Surroundings read_pressure(const std::string& folder = "/proc/pressure");

}  // namespace predsnap::predict
