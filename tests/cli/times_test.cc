// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnap/times.h"

#include <gtest/gtest.h>

namespace predsnap {
namespace {

constexpr int64_t kSecond = 1'000'000, kHour = 3600 * kSecond, kDay = 24 * kHour;
constexpr int64_t kNow = 1795181527 * kSecond;  // 2026-11-20T13:32:07Z, 14:32:07 in Berlin

Clock clock_in(const char* zone, int64_t now_us = kNow) { return {g_time_zone_new_identifier(zone), now_us}; }

class TimesTest : public ::testing::Test {
  protected:
    int64_t must(const std::string& text) {
        const auto parsed = parse_time(text, clock);
        EXPECT_TRUE(parsed.ok()) << text << ": " << (parsed.ok() ? "" : parsed.error().message);
        return parsed.ok() ? parsed.value() : -1;
    }
    std::string refusal(const std::string& text) {
        const auto parsed = parse_time(text, clock);
        EXPECT_FALSE(parsed.ok()) << text << " is taken for " << (parsed.ok() ? parsed.value() : 0);
        return parsed.ok() ? "" : parsed.error().message;
    }
    Clock clock = clock_in("Europe/Berlin");
};

TEST_F(TimesTest, IsoTimesWithAZoneAreThatMoment) {
    EXPECT_EQ(must("2026-11-20T13:32:07Z"), kNow);
    EXPECT_EQ(must("2026-11-20T14:32:07+01:00"), kNow);
    EXPECT_EQ(must("2026-11-20 14:32:07 +0100"), kNow);
    EXPECT_EQ(must("2026-11-20T08:02:07-05:30"), kNow);
    EXPECT_EQ(must("2026-11-20T14:32:07.893123+01"), kNow + 893123);
}

TEST_F(TimesTest, WithoutAZoneTheyAreLocal) {
    EXPECT_EQ(must("2026-11-20 14:32:07"), kNow);
    EXPECT_EQ(must("2026-11-20T14:32"), kNow - 7 * kSecond);
    EXPECT_EQ(must("2026-11-20"), kNow - 14 * kHour - 32 * 60 * kSecond - 7 * kSecond);
    EXPECT_EQ(must("2026-07-20 14:32:07"), must("2026-07-20T12:32:07Z"));  // summer time
    clock = clock_in("America/New_York");
    EXPECT_EQ(must("2026-11-20 08:32:07"), kNow);
}

TEST_F(TimesTest, ATimeOfDayIsTheNewestThatHasCome) {
    EXPECT_EQ(must("14:32:07"), kNow);
    EXPECT_EQ(must("14:32:08"), kNow - kDay + kSecond);
    EXPECT_EQ(must("yesterday 14:32:07"), kNow - kDay);
    EXPECT_EQ(must("today 14:32:07"), kNow);
}

TEST_F(TimesTest, SpansCountBackFromNow) {
    EXPECT_EQ(must("now"), kNow);
    EXPECT_EQ(must("-2h"), kNow - 2 * kHour);
    EXPECT_EQ(must("-1h30m"), kNow - kHour - kHour / 2);
    EXPECT_EQ(must("10 minutes ago"), kNow - 600 * kSecond);
    EXPECT_EQ(must("2 days 1 hour ago"), kNow - 2 * kDay - kHour);
    EXPECT_EQ(must("-250ms"), kNow - 250'000);
}

TEST_F(TimesTest, MicrosecondsSinceTheEpochAreMarked) { EXPECT_EQ(must("@1795180036000001"), 1795180036000001); }

TEST_F(TimesTest, WhatIsNoTimeIsRefused) {
    for (const char* text : {"", "2h", "10 minutes", "-2h ago", "2026-13-01", "2026-02-30", "2026-11-20 24:00", "14:60", "-5", "-5 parsecs", "@", "@1x",
                             "2026-11-20T14:32:07+25:00", "2026-11-20T14:32:07 CET", "soon", "2026-11-20x", "@99999999999999999999", "-99999999999999w"}) {
        EXPECT_NE(refusal(text).find("times are like"), std::string::npos) << text;
    }
}

TEST_F(TimesTest, AnAmbiguousTimeIsRefusedWithBothReadings) {
    const std::string refused = refusal("2026-10-25 02:30");
    EXPECT_NE(refused.find("2026-10-25T02:30:00+02:00"), std::string::npos) << refused;
    EXPECT_NE(refused.find("2026-10-25T02:30:00+01:00"), std::string::npos) << refused;
    EXPECT_NE(refused.find("Europe/Berlin"), std::string::npos) << refused;
    EXPECT_EQ(must("2026-10-25T02:30:00+01:00") - must("2026-10-25T02:30:00+02:00"), kHour);
    EXPECT_EQ(must("2026-10-25 01:59:59") + kSecond, must("2026-10-25T02:00:00+02:00"));
    EXPECT_EQ(must("2026-10-25 03:00"), must("2026-10-25T02:00:00Z"));
}

TEST_F(TimesTest, ATimeThatNeverWasIsRefused) {
    const std::string refused = refusal("2026-03-29 02:30");
    EXPECT_NE(refused.find("put forward"), std::string::npos) << refused;
    EXPECT_NE(refused.find("2026-03-29T03:30:00+02:00"), std::string::npos) << refused;
    EXPECT_EQ(must("2026-03-29 03:00") - must("2026-03-29 01:59:59"), kSecond);
}

TEST_F(TimesTest, ZonesWithHalfAnHourOfSummerTimeToo) {
    clock = clock_in("Australia/Lord_Howe");  // 30 minutes, on the first Sunday of April
    EXPECT_NE(refusal("2026-04-05 01:45").find("+10:30"), std::string::npos);
    EXPECT_NE(refusal("2026-10-04 02:15").find("put forward"), std::string::npos);
    must("2026-04-05 02:15");
}

TEST_F(TimesTest, WhatIsShownIsReadAgain) {
    for (const int64_t us : {kNow, kNow + 123456, must("2026-10-25T02:30:00+02:00"), must("2026-10-25T02:30:00+01:00"), int64_t{0}}) {
        EXPECT_EQ(must(iso_time(us, clock)), us);
    }
    EXPECT_EQ(iso_time(kNow + 893123, clock), "2026-11-20T14:32:07.893123+01:00");
    EXPECT_EQ(show_time(kNow + 893123, clock), "2026-11-20 14:32:07.893 CET");
    EXPECT_EQ(show_time(kNow, clock, true), "14:32:07.000");
    EXPECT_EQ(show_time(kNow - kDay, clock, true), "2026-11-19 14:32:07.000");
}

TEST_F(TimesTest, WhatLooksLikeATime) {
    for (const char* text : {"14:32", "2026-11-20", "-2h", "10 minutes ago", "@17", "yesterday", "now"}) {
        EXPECT_TRUE(looks_like_time(text)) << text;
    }
    for (const char* text : {"before", "before-upgrade", "2h", "nowhere", "17", "yesterdays-backup", "v1.2"}) {
        EXPECT_FALSE(looks_like_time(text)) << text;
    }
}

TEST(Spans, OfManyForms) {
    EXPECT_EQ(parse_span("90").value(), 90 * kSecond);
    EXPECT_EQ(parse_span("1h30m").value(), kHour + kHour / 2);
    EXPECT_EQ(parse_span("2 days").value(), 2 * kDay);
    EXPECT_EQ(parse_span("500ms").value(), kSecond / 2);
    EXPECT_FALSE(parse_span("").ok());
    EXPECT_FALSE(parse_span("1h30").ok());
    EXPECT_FALSE(parse_span("-1h").ok());
}

}  // namespace
}  // namespace predsnap
