// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>

#include <cstring>

#include "evaluate_text.h"
#include "svg.h"

namespace predsnap::predict {
namespace {

constexpr std::array<std::string_view, kMeasured> kColors = {"#999999", "#56b4e9", "#e69f00",
                                                             "#009e73", "#0072b2", "#d55e00"};

std::string title_of(const TraceReport& trace, const TargetReport& target) {
    const std::string name = trace.path.substr(trace.path.rfind('/') + 1);
    return name.substr(0, name.find('.')) + (target.target.op == Op::kWrite ? "-write-" : "-read-") +
           std::to_string(target.target.horizon_us / kSecond);
}

Result<void> plot_precision(const std::string& path, const std::string& title, const TargetReport& target) {
    Chart chart(title + ": precision by recall", {"recall", 0, 1}, {"precision", 0, 1});
    for (size_t i = 0; i < kMeasured; ++i) {
        std::vector<std::pair<double, double>> points;
        for (const CurvePoint& point : target.quality[i].curve) {
            points.emplace_back(point.recall, point.precision);
        }
        chart.line(points, kColors[i], measured_name(i));
    }
    return chart.write(path);
}

Result<void> plot_calibration(const std::string& path, const std::string& title, const TargetReport& target) {
    Chart chart(title + ": calibration of what was served", {"predicted probability", 0, 1}, {"share that came", 0, 1});
    const std::pair<double, double> diagonal[] = {{0, 0}, {1, 1}};
    chart.line(diagonal, "#bbbbbb", "perfect");
    std::vector<std::pair<double, double>> points;
    for (const Calibration::Bin& bin : target.quality[kServed].calibration.bins) {
        if (bin.count > 0) {
            const double count = static_cast<double>(bin.count);
            points.emplace_back(bin.predicted / count, bin.came / count);
        }
    }
    chart.dots(points, kColors[kServed], "served");
    return chart.write(path);
}

// Grey: came. Darker: it was predicted with at least the probability that finds as many as came.
Result<void> plot_map(const std::string& path, const std::string& title, const HeatMap& map) {
    Chart chart(title + ": what came, and what was predicted", {"seconds", 0, map.span_s},
                {"chunks, in order, only those accessed", 0, static_cast<double>(kMapRows)});
    const double width = map.span_s / static_cast<double>(kMapColumns);
    for (size_t x = 0; x < kMapColumns; ++x) {
        for (size_t y = 0; y < kMapRows; ++y) {
            const HeatMap::Cell& cell = map.cells[x * kMapRows + y];
            if (!cell.came && !cell.predicted) {
                continue;
            }
            const char* color = cell.came && cell.predicted ? "#009e73" : cell.came ? "#d55e00" : "#c8c8c8";
            chart.box(static_cast<double>(x) * width, static_cast<double>(y), width, 1, color);
        }
    }
    chart.dots({}, "#009e73", "predicted, came");
    chart.dots({}, "#d55e00", "came only");
    chart.dots({}, "#c8c8c8", "predicted only");
    return chart.write(path);
}

}  // namespace

Result<void> plot(const TraceReport& trace, const std::string& folder) {
    if (g_mkdir_with_parents(folder.c_str(), 0777) != 0) {
        const int code = errno;
        return Error{code, folder + ": " + std::strerror(code)};
    }
    for (const TargetReport& target : trace.targets) {
        if (!target.quality[kServed].measured) {
            continue;
        }
        const std::string title = title_of(trace, target), begin = folder + "/" + title;
        TRY(plot_precision(begin + "-precision.svg", title, target));
        TRY(plot_calibration(begin + "-calibration.svg", title, target));
        TRY(plot_map(begin + "-map.svg", title, target.map));
    }
    return {};
}

}  // namespace predsnap::predict
