// SPDX-License-Identifier: GPL-2.0-or-later
//
// Times as people write and read them. Inside all are microseconds since the Unix epoch.
//
// What has no zone is local time. A local time that clocks show twice (when summer time ends) is refused, with
// both readings named; so is one that they never show.
#pragma once

#include <glib.h>

#include <cstdint>
#include <memory>
#include <string>

#include "block/engine/result.h"

namespace predsnap {

// The zone of local times, and what time it is.
class Clock {
  public:
    // TZ, or the system's zone; the system's time.
    static Clock local();
    // For tests.
    Clock(GTimeZone* zone_taken, int64_t now_us) : zone_(zone_taken, g_time_zone_unref), now_us_(now_us) {}

    GTimeZone* zone() const { return zone_.get(); }
    int64_t now_us() const { return now_us_; }

  private:
    std::shared_ptr<GTimeZone> zone_;
    int64_t now_us_;
};

// A time in one of these forms:
//   2026-11-20T14:32:07.893+01:00   ISO 8601; a space in place of T; seconds and their fraction may be missing
//   2026-11-20 14:32, 2026-11-20    the same in local time; a date is its first moment
//   14:32:07, yesterday 14:32       today, or yesterday if that has not come yet; the day before
//   -2h, -90s, -1h30m, "10 minutes ago", now
//   @1795180036000000               microseconds since the epoch
// Days and weeks are of 24 hours each. Errors: EINVAL, with what is wrong and what would do.
Result<int64_t> parse_time(const std::string& text, const Clock& clock);
// Whether it may be meant as one: begins as one of the forms does.
bool looks_like_time(const std::string& text);
// "90", "90s", "1h30m", "2 days" in microseconds; a bare number is of seconds.
Result<int64_t> parse_span(const std::string& text);

// "2026-11-20 14:32:07.893 CET"; without the date if that is today's and `brief`.
std::string show_time(int64_t us, const Clock& clock, bool brief = false);
// "2026-11-20T14:32:07.893123+01:00"
std::string iso_time(int64_t us, const Clock& clock);

}  // namespace predsnap
