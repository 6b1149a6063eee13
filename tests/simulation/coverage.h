// SPDX-License-Identifier: GPL-2.0-or-later
//
// Counts what a run exercised, so that one sees whether the simulation covers what it claims to.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace predsnap::sim {

class Coverage {
  public:
    void hit(const std::string& what, uint64_t times = 1) { counts_[what] += times; }
    void add(const Coverage& other) {
        for (const auto& [what, times] : other.counts_) {
            counts_[what] += times;
        }
    }
    const std::map<std::string, uint64_t>& counts() const { return counts_; }

  private:
    std::map<std::string, uint64_t> counts_;
};

}  // namespace predsnap::sim
