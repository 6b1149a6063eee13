// SPDX-License-Identifier: GPL-2.0-or-later
//
// Address × time: where something came, and where it was predicted. Addresses that were never accessed
// are left out.
#pragma once

#include <vector>

#include "forecaster.h"

namespace predsnap::predict {

constexpr size_t kMapColumns = 200, kMapRows = 100;

struct HeatMap {
    struct Cell {
        bool came = false, predicted = false;
    };
    double span_s = 0;
    std::vector<Cell> cells = std::vector<Cell>(kMapColumns * kMapRows);  // by column, from below
};

class HeatMapMaker {
  public:
    // Predicted are as many of the likeliest candidates as came: then both kinds of error are equal.
    void add(const Settled& settled);
    HeatMap make() const;

  private:
    struct Mark {
        int64_t time_us;
        ChunkId id;
        bool came, predicted;
    };
    std::vector<Mark> marks_;
};

}  // namespace predsnap::predict
