// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a disk is like: its features, summed up over the samples that were taken of it. Disks that are alike can begin with
// each other's models.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::predict {

struct Profile {
    struct Column {
        float mean = 0, spread = 0;  // of the values that are known; spread: mean distance from the mean
        float known = 0;             // share of them
    };
    std::vector<Column> columns;  // one for each feature; empty: nothing was sampled

    std::string bytes() const;
    // Of bytes(). Errors: EINVAL if they are not of these features, or no numbers.
    static Result<Profile> parse(std::string_view bytes);
};

// From 0, the same, to 1: nothing in common. Mean over all features of how far their means are apart, measured by their
// spreads, where both know them, and of how much more often one knows them.
double distance(const Profile& a, const Profile& b);

}  // namespace predsnap::predict
