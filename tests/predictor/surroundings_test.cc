// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/surroundings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "tools/predsnapd/moment.h"

namespace predsnap::predict::test {
namespace {

TEST(Surroundings, PressureIsReadWhereItIs) {
    char folder[] = "/tmp/predsnap-pressure-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    const auto say = [&](const char* name, const char* what) { std::ofstream(std::string(folder) + name) << what; };
    EXPECT_TRUE(std::isnan(read_pressure(folder).io_pressure));
    say("/io", "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    say("/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    EXPECT_FLOAT_EQ(read_pressure(folder).io_pressure, 0.125f);
    EXPECT_EQ(read_pressure(folder).cpu_pressure, 0);
    for (const char* nonsense : {"", "some", "some avg10=", "some avg10=x", "some avg10=101", "some avg10=-1", "some avg10=nan"}) {
        say("/io", nonsense);
        EXPECT_TRUE(std::isnan(read_pressure(folder).io_pressure)) << nonsense;
    }
    EXPECT_EQ(std::system((std::string("rm -r ") + folder).c_str()), 0);
}

float feature(const Activity& activity, int64_t now_us, std::string_view name) {
    const Moment moment(activity, now_us);
    std::vector<float> row(feature_names().size());
    moment.features(0, row);
    const auto names = feature_names();
    return row[static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin())];
}

// What was seen for the past is not known later, nor is what was seen later for the past.
TEST(Surroundings, CountForTheMomentsAfterTheyWereSeenAndNotForLong) {
    Activity activity;
    activity.observe({100 * kSecond, 0, 4096, Op::kWrite});
    EXPECT_TRUE(std::isnan(feature(activity, 100 * kSecond, "io-pressure")));
    activity.surround(110 * kSecond, {.io_pressure = 0.5f, .cpu_pressure = 0.25f, .weight = 7});
    EXPECT_EQ(feature(activity, 111 * kSecond, "io-pressure"), 0.5f);
    EXPECT_EQ(feature(activity, 111 * kSecond, "cpu-pressure"), 0.25f);
    EXPECT_EQ(feature(activity, 111 * kSecond, "weight"), 7);
    EXPECT_TRUE(std::isnan(feature(activity, 109 * kSecond, "io-pressure")));
    EXPECT_TRUE(std::isnan(feature(activity, 300 * kSecond, "io-pressure")));
    EXPECT_EQ(feature(activity, 300 * kSecond, "weight"), 7);  // that does not pass
}

}  // namespace
}  // namespace predsnap::predict::test
