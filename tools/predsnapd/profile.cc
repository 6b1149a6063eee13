// SPDX-License-Identifier: GPL-2.0-or-later
#include "profile.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "moment.h"

namespace predsnap::predict {

std::string Profile::bytes() const {
    return {reinterpret_cast<const char*>(columns.data()), columns.size() * sizeof(Column)};
}

Result<Profile> Profile::parse(std::string_view bytes) {
    Profile profile;
    if (bytes.size() != feature_names().size() * sizeof(Column)) {
        return Error{EINVAL, "is a profile of other features"};
    }
    profile.columns.resize(feature_names().size());
    std::memcpy(profile.columns.data(), bytes.data(), bytes.size());
    const auto strange = [](const Column& c) {
        return !std::isfinite(c.mean) || !std::isfinite(c.spread) || !(c.known >= 0 && c.known <= 1);
    };
    if (std::any_of(profile.columns.begin(), profile.columns.end(), strange)) {
        return Error{EINVAL, "is a profile that holds no numbers"};
    }
    return profile;
}

double distance(const Profile& a, const Profile& b) {
    const size_t count = std::min(a.columns.size(), b.columns.size());
    if (count == 0) {
        return 1;
    }
    double sum = 0;
    for (size_t i = 0; i < count; ++i) {
        const Profile::Column &one = a.columns[i], &other = b.columns[i];
        const double both = std::min(one.known, other.known), either = std::max(one.known, other.known);
        const double apart = std::abs(static_cast<double>(one.mean) - static_cast<double>(other.mean));
        const double scale = std::abs(static_cast<double>(one.spread)) + std::abs(static_cast<double>(other.spread));
        const double unlike = apart == 0 ? 0 : std::min(1.0, apart / std::max(scale, 1e-6));
        sum += either == 0 ? 0 : (either - both) + both * unlike;
    }
    return sum / static_cast<double>(count);
}

}  // namespace predsnap::predict
