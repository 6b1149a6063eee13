// SPDX-License-Identifier: GPL-2.0-or-later
#include "svg.h"

#include <cstdio>
#include <cstring>

#include "block/engine/text.h"

namespace predsnap::predict {
namespace {

constexpr double kWidth = 760, kHeight = 480, kLeft = 70, kRight = 130, kTop = 40, kBottom = 50;
constexpr int kTicks = 5;

std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text) {
        result += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
    }
    return result;
}

}  // namespace

Chart::Chart(std::string_view title, const Axis& x, const Axis& y) : x_(x), y_(y) {
    body_ += text("<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f' font-family='sans-serif' "
                  "font-size='12'>\n<rect width='100%%' height='100%%' fill='white'/>\n",
                  kWidth, kHeight);
    body_ += text("<text x='%.0f' y='22' font-size='15'>%s</text>\n", kLeft, escaped(title).c_str());
    axes();
}

double Chart::at_x(double x) const {
    return kLeft + (x - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight);
}

double Chart::at_y(double y) const {
    return kHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom);
}

void Chart::axes() {
    for (int i = 0; i <= kTicks; ++i) {
        const double x = x_.low + (x_.high - x_.low) * i / kTicks, y = y_.low + (y_.high - y_.low) * i / kTicks;
        body_ += text("<path d='M%.1f %.1fV%.1f M%.1f %.1fH%.1f' stroke='#ddd'/>\n", at_x(x), kTop, kHeight - kBottom,
                      kLeft, at_y(y), kWidth - kRight);
        body_ += text("<text x='%.1f' y='%.1f' text-anchor='middle'>%.4g</text>\n", at_x(x), kHeight - kBottom + 16, x);
        body_ += text("<text x='%.1f' y='%.1f' text-anchor='end'>%.4g</text>\n", kLeft - 6, at_y(y) + 4, y);
    }
    body_ += text("<text x='%.1f' y='%.1f' text-anchor='middle'>%s</text>\n", (kLeft + kWidth - kRight) / 2,
                  kHeight - 12, escaped(x_.label).c_str());
    body_ += text("<text transform='translate(16 %.1f) rotate(-90)' text-anchor='middle'>%s</text>\n",
                  (kTop + kHeight - kBottom) / 2, escaped(y_.label).c_str());
}

void Chart::legend(std::string_view color, std::string_view name) {
    const double y = kTop + 16 * ++names_;
    body_ += text("<rect x='%.0f' y='%.0f' width='10' height='10' fill='%.*s'/><text x='%.0f' y='%.0f'>%s</text>\n",
                  kWidth - kRight + 10, y - 9, static_cast<int>(color.size()), color.data(), kWidth - kRight + 25, y,
                  escaped(name).c_str());
}

void Chart::line(Points points, std::string_view color, std::string_view name) {
    legend(color, name);
    body_ += text("<path fill='none' stroke-width='1.5' stroke='%.*s' d='", static_cast<int>(color.size()), color.data());
    char command = 'M';
    for (const auto& [x, y] : points) {
        body_ += text("%c%.1f %.1f", std::exchange(command, 'L'), at_x(x), at_y(y));
    }
    body_ += "'/>\n";
}

void Chart::dots(Points points, std::string_view color, std::string_view name) {
    legend(color, name);
    for (const auto& [x, y] : points) {
        body_ += text("<circle cx='%.1f' cy='%.1f' r='4' fill='%.*s'/>\n", at_x(x), at_y(y),
                      static_cast<int>(color.size()), color.data());
    }
}

void Chart::box(double x, double y, double width, double height, std::string_view color) {
    body_ += text("<rect x='%.2f' y='%.2f' width='%.2f' height='%.2f' fill='%.*s'/>\n", at_x(x), at_y(y + height),
                  at_x(x + width) - at_x(x), at_y(y) - at_y(y + height), static_cast<int>(color.size()), color.data());
}

Result<void> Chart::write(const std::string& path) const {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) {
        const int code = errno;
        return Error{code, path + ": " + std::strerror(code)};
    }
    const bool whole = std::fwrite(body_.data(), 1, body_.size(), file) == body_.size() && std::fputs("</svg>\n", file) >= 0;
    if (std::fclose(file) != 0 || !whole) {
        return Error{EIO, path + ": cannot be written"};
    }
    return {};
}

}  // namespace predsnap::predict
