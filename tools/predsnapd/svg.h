// SPDX-License-Identifier: GPL-2.0-or-later
//
// Charts as SVG: axes, lines, points, rectangles; in the units of the axes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "block/engine/result.h"

namespace predsnap::predict {

struct Axis {
    std::string_view label;
    double low = 0, high = 1;
};

class Chart {
  public:
    using Points = std::span<const std::pair<double, double>>;
    Chart(std::string_view title, const Axis& x, const Axis& y);

    void line(Points points, std::string_view color, std::string_view name);
    void dots(Points points, std::string_view color, std::string_view name);
    void box(double x, double y, double width, double height, std::string_view color);
    Result<void> write(const std::string& path) const;

  private:
    void axes();
    void legend(std::string_view color, std::string_view name);
    double at_x(double x) const;
    double at_y(double y) const;

    const Axis x_, y_;
    std::string body_;
    int names_ = 0;
};

}  // namespace predsnap::predict
