// SPDX-License-Identifier: GPL-2.0-or-later
//
// Rates over time as a line of marks, and where they jump.
#pragma once

#include <string>
#include <vector>

namespace predsnap {

// A mark for each rate: the higher the rate, the higher the mark; a blank for 0. What is a tenth of another is about a
// third as high, so that a steady load is seen beside an attack. `unicode`: block elements, else ASCII.
std::string sparkline(const std::vector<double>& rates, bool unicode);

struct Jump {
    size_t at;             // the first of the higher rates
    double before, after;  // rates, around it
};
// Where the rate rises to many times what it was, and to what matters beside the highest one: the greatest few, in
// order.
std::vector<Jump> find_jumps(const std::vector<double>& rates, size_t most = 3);

}  // namespace predsnap
