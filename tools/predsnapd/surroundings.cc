// SPDX-License-Identifier: GPL-2.0-or-later
#include "surroundings.h"

#include <glib.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

namespace predsnap::predict {
namespace {

// Of a file that begins with "some avg10=1.25 avg60=...": hundredths of the time.
float some_of_ten_seconds(const std::string& path) {
    constexpr char kBegin[] = "some avg10=";
    g_autofree gchar* content = nullptr;
    if (g_file_get_contents(path.c_str(), &content, nullptr, nullptr) == FALSE ||
        std::strncmp(content, kBegin, sizeof(kBegin) - 1) != 0) {
        return Surroundings::kUnknown;
    }
    const gchar* begin = content + sizeof(kBegin) - 1;
    gchar* end = nullptr;
    const double hundredths = g_ascii_strtod(begin, &end);
    return end == begin || !(hundredths >= 0 && hundredths <= 100) ? Surroundings::kUnknown
                                                                   : static_cast<float>(hundredths / 100);
}

}  // namespace

Surroundings read_pressure(const std::string& folder) {
    Surroundings now;
    now.io_pressure = some_of_ten_seconds(folder + "/io");
    now.cpu_pressure = some_of_ten_seconds(folder + "/cpu");
    return now;
}

}  // namespace predsnap::predict
