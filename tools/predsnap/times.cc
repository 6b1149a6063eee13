// SPDX-License-Identifier: GPL-2.0-or-later
#include "times.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <optional>
#include <vector>

#include "block/engine/text.h"

namespace predsnap {
namespace {

constexpr int64_t kSecond = 1'000'000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr int64_t kFurthest = int64_t{253402300800} * kSecond;  // the year 10000

constexpr char kForms[] = "times are like '2026-11-20 14:32:07', '2026-11-20T14:32:07+01:00', '14:32', '-2h', '10 minutes ago', "
                          "or '@' and microseconds since the epoch";

Error not_a_time(const std::string& text, const std::string& why = "") {
    return Error{EINVAL, "'" + text + "' is no time" + (why.empty() ? "" : " (" + why + ")") + ": " + kForms};
}

using DateTime = std::unique_ptr<GDateTime, decltype(&g_date_time_unref)>;

// A moment in a zone.
DateTime in_zone(int64_t us, GTimeZone* zone) {
    const DateTime utc(g_date_time_new_from_unix_utc(us >= 0 ? us / kSecond : (us - kSecond + 1) / kSecond), g_date_time_unref);
    const int64_t rest = us - g_date_time_to_unix(utc.get()) * kSecond;
    const DateTime there(g_date_time_to_timezone(utc.get(), zone), g_date_time_unref);
    return DateTime(g_date_time_add(there.get(), rest), g_date_time_unref);
}

std::string format(const DateTime& time, const char* pattern) {
    char* made = g_date_time_format(time.get(), pattern);
    std::string result = made != nullptr ? made : "";
    g_free(made);
    return result;
}

int64_t offset_at(GTimeZone* zone, int64_t us) {
    const gint interval = g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, us / kSecond);
    return int64_t{g_time_zone_get_offset(zone, interval)} * kSecond;
}

// The moments at which clocks in the zone show what a clock in UTC shows at `wall`.
std::vector<int64_t> moments_of(int64_t wall, GTimeZone* zone) {
    std::vector<int64_t> found;
    for (const int64_t probe : {wall - kDay, wall, wall + kDay}) {
        const int64_t offset = offset_at(zone, probe), candidate = wall - offset;
        if (offset_at(zone, candidate) == offset && std::find(found.begin(), found.end(), candidate) == found.end()) {
            found.push_back(candidate);
        }
    }
    std::sort(found.begin(), found.end());
    return found;
}

Result<int64_t> to_moment(const std::string& text, int64_t wall, const Clock& clock) {
    const std::vector<int64_t> found = moments_of(wall, clock.zone());
    if (found.size() == 1) {
        return found[0];
    }
    const std::string zone = g_time_zone_get_identifier(clock.zone());
    if (found.empty()) {
        const int64_t before = wall - offset_at(clock.zone(), wall - kDay), after = wall - offset_at(clock.zone(), wall + kDay);
        return Error{EINVAL, "'" + text + "' is no time in " + zone + ": clocks were put forward over it. Say " +
                                 iso_time(std::min(before, after), clock) + " or " + iso_time(std::max(before, after), clock)};
    }
    return Error{EINVAL, "'" + text + "' came twice in " + zone + ", as clocks were put back: say " + iso_time(found[0], clock) +
                             " for the first time or " + iso_time(found[1], clock) + " for the second"};
}

// Reads pieces of a text one after the other.
class Scanner {
  public:
    explicit Scanner(const std::string& text) : at_(text.c_str()) {}

    bool done() const { return *at_ == '\0'; }
    bool take(char c) {
        const bool there = *at_ == c;
        at_ += there ? 1 : 0;
        return there;
    }
    // Exactly so many digits.
    bool digits(int count, int* value) {
        *value = 0;
        for (int i = 0; i < count; ++i, ++at_) {
            if (std::isdigit(static_cast<unsigned char>(*at_)) == 0) {
                return false;
            }
            *value = *value * 10 + (*at_ - '0');
        }
        return true;
    }
    // ".893": microseconds; more digits than six are dropped.
    bool fraction(int64_t* us) {
        int64_t unit = kSecond / 10;
        bool any = false;
        for (; std::isdigit(static_cast<unsigned char>(*at_)) != 0; ++at_, unit /= 10, any = true) {
            *us += (*at_ - '0') * unit;
        }
        return any;
    }
    void spaces() {
        while (*at_ == ' ') {
            ++at_;
        }
    }
    bool word(const char* expected) {
        const size_t length = std::strlen(expected);
        const bool there = g_ascii_strncasecmp(at_, expected, length) == 0 && g_ascii_isalpha(at_[length]) == 0;
        at_ += there ? length : 0;
        return there;
    }
    bool number(int64_t* value) {
        char* end = nullptr;
        if (g_ascii_isdigit(*at_) == 0) {
            return false;
        }
        *value = g_ascii_strtoll(at_, &end, 10);
        at_ = end;
        return *value < kFurthest;
    }
    const char* rest() const { return at_; }

  private:
    const char* at_;
};

// --- spans ---

struct Unit {
    const char* name;
    int64_t us;
};
constexpr Unit kUnits[] = {{"microseconds", 1}, {"us", 1}, {"milliseconds", 1000}, {"ms", 1000},
                           {"seconds", kSecond}, {"second", kSecond}, {"secs", kSecond}, {"sec", kSecond}, {"s", kSecond},
                           {"minutes", kMinute}, {"minute", kMinute}, {"mins", kMinute}, {"min", kMinute}, {"m", kMinute},
                           {"hours", kHour}, {"hour", kHour}, {"h", kHour},
                           {"days", kDay}, {"day", kDay}, {"d", kDay},
                           {"weeks", 7 * kDay}, {"week", 7 * kDay}, {"w", 7 * kDay}};

int64_t take_unit(Scanner& scanner) {
    for (const Unit& unit : kUnits) {
        if (scanner.word(unit.name)) {
            return unit.us;
        }
    }
    return 0;
}

// "1h30m", "2 days"; nothing if it begins otherwise. Too long a span is none.
std::optional<int64_t> take_span(Scanner& scanner) {
    int64_t total = 0;
    bool any = false;
    while (g_ascii_isdigit(*scanner.rest()) != 0) {
        int64_t count = 0;
        if (!scanner.number(&count)) {
            return std::nullopt;
        }
        scanner.spaces();
        const int64_t unit = take_unit(scanner);
        if (unit == 0 || count > kFurthest / unit || total > kFurthest - count * unit) {
            return std::nullopt;
        }
        total += count * unit;
        any = true;
        scanner.spaces();
    }
    return any ? std::optional(total) : std::nullopt;
}

// "-2h", "10 minutes ago".
std::optional<int64_t> take_ago(const std::string& text) {
    Scanner scanner(text);
    const bool minus = scanner.take('-');
    const std::optional<int64_t> span = take_span(scanner);
    if (!span) {
        return std::nullopt;
    }
    const bool ago = scanner.word("ago");
    return scanner.done() && minus != ago ? span : std::nullopt;
}

// --- dates ---

// A day's begin, as a clock in UTC shows it.
std::optional<int64_t> day_of(int year, int month, int day) {
    const DateTime made(g_date_time_new_utc(year, month, day, 0, 0, 0), [](GDateTime* time) {
        if (time != nullptr) {
            g_date_time_unref(time);
        }
    });
    return made ? std::optional(g_date_time_to_unix(made.get()) * kSecond) : std::nullopt;
}

std::optional<int64_t> take_date(Scanner& scanner) {
    int year = 0, month = 0, day = 0;
    if (!scanner.digits(4, &year) || !scanner.take('-') || !scanner.digits(2, &month) || !scanner.take('-') ||
        !scanner.digits(2, &day)) {
        return std::nullopt;
    }
    return year > 0 && month >= 1 && month <= 12 && day >= 1 && day <= 31 ? day_of(year, month, day) : std::nullopt;
}

std::optional<int64_t> take_time_of_day(Scanner& scanner) {
    int hour = 0, minute = 0, second = 0;
    int64_t us = 0;
    if (!scanner.digits(2, &hour) || !scanner.take(':') || !scanner.digits(2, &minute)) {
        return std::nullopt;
    }
    if (scanner.take(':')) {
        if (!scanner.digits(2, &second) || ((scanner.take('.') || scanner.take(',')) && !scanner.fraction(&us))) {
            return std::nullopt;
        }
    }
    if (hour > 23 || minute > 59 || second > 59) {
        return std::nullopt;
    }
    return hour * kHour + minute * kMinute + second * kSecond + us;
}

// "Z", "+01:00", "-0530"; what is to be taken from the clock's reading.
std::optional<int64_t> take_zone(Scanner& scanner) {
    if (scanner.take('Z') || scanner.take('z')) {
        return 0;
    }
    const bool minus = scanner.take('-');
    int hours = 0, minutes = 0;
    if ((!minus && !scanner.take('+')) || !scanner.digits(2, &hours)) {
        return std::nullopt;
    }
    const bool more = scanner.take(':') || !scanner.done();
    if ((more && !scanner.digits(2, &minutes)) || hours > 14 || minutes > 59) {
        return std::nullopt;
    }
    return (minus ? -1 : 1) * (hours * kHour + minutes * kMinute);
}

int64_t today(const Clock& clock) {
    const int64_t wall = clock.now_us() + offset_at(clock.zone(), clock.now_us());
    return wall - (wall % kDay + kDay) % kDay;
}

Result<int64_t> with_zone(const std::string& text, Scanner& scanner, int64_t wall, const Clock& clock) {
    scanner.spaces();
    if (scanner.done()) {
        return to_moment(text, wall, clock);
    }
    const std::optional<int64_t> offset = take_zone(scanner);
    return offset && scanner.done() ? Result<int64_t>(wall - *offset) : not_a_time(text, "its zone, if it has one, is like +01:00 or Z");
}

// "14:32" of a day that is not named: the newest that has come.
Result<int64_t> of_the_day(const std::string& text, const Clock& clock) {
    Scanner scanner(text);
    const std::optional<int64_t> time = take_time_of_day(scanner);
    if (!time) {
        return not_a_time(text);
    }
    TRY_ASSIGN(const int64_t moment, with_zone(text, scanner, today(clock) + *time, clock));
    if (moment <= clock.now_us()) {
        return moment;
    }
    Scanner again(text);
    static_cast<void>(take_time_of_day(again));
    return with_zone(text, again, today(clock) - kDay + *time, clock);
}

Result<int64_t> of_a_date(const std::string& text, Scanner& scanner, int64_t day, const Clock& clock) {
    if (scanner.done()) {
        return to_moment(text, day, clock);
    }
    if (!scanner.take('T') && !scanner.take('t') && !scanner.take(' ')) {
        return not_a_time(text);
    }
    scanner.spaces();
    const std::optional<int64_t> time = take_time_of_day(scanner);
    return time ? with_zone(text, scanner, day + *time, clock) : not_a_time(text);
}

}  // namespace

Clock Clock::local() { return {g_time_zone_new_local(), g_get_real_time()}; }

bool looks_like_time(const std::string& text) {
    Scanner date(text), time(text), day(text);
    return text == "now" || text.starts_with("@") || take_ago(text) || take_date(date) || take_time_of_day(time) ||
           day.word("yesterday") || day.word("today");
}

Result<int64_t> parse_time(const std::string& text, const Clock& clock) {
    Scanner scanner(text);
    if (scanner.word("now") && scanner.done()) {
        return clock.now_us();
    }
    if (scanner.take('@')) {
        int64_t us = 0;
        return scanner.number(&us) && scanner.done() && us < kFurthest ? Result<int64_t>(us) : not_a_time(text);
    }
    if (const std::optional<int64_t> span = take_ago(text)) {
        return clock.now_us() - *span;
    }
    if (scanner.word("yesterday")) {
        return of_a_date(text, scanner, today(clock) - kDay, clock);
    }
    if (scanner.word("today")) {
        return of_a_date(text, scanner, today(clock), clock);
    }
    Scanner dated(text);
    if (const std::optional<int64_t> day = take_date(dated)) {
        return of_a_date(text, dated, *day, clock);
    }
    return of_the_day(text, clock);
}

Result<int64_t> parse_span(const std::string& text) {
    Scanner scanner(text);
    int64_t seconds = 0;
    if (Scanner bare(text); bare.number(&seconds) && bare.done() && seconds < kFurthest / kSecond) {
        return seconds * kSecond;
    }
    const std::optional<int64_t> span = take_span(scanner);
    if (!span || !scanner.done()) {
        return Error{EINVAL, "'" + text + "' is no span of time: say 90, 90s, 1h30m or '2 days'"};
    }
    return *span;
}

std::string show_time(int64_t us, const Clock& clock, bool brief) {
    const DateTime time = in_zone(us, clock.zone()), now = in_zone(clock.now_us(), clock.zone());
    const bool same_day = format(time, "%F") == format(now, "%F");
    const std::string clock_time = format(time, "%H:%M:%S") + text(".%03d", g_date_time_get_microsecond(time.get()) / 1000);
    return brief && same_day ? clock_time : format(time, "%F") + " " + clock_time + (brief ? "" : format(time, " %Z"));
}

std::string iso_time(int64_t us, const Clock& clock) {
    const DateTime time = in_zone(us, clock.zone());
    const int micros = g_date_time_get_microsecond(time.get());
    return format(time, "%FT%H:%M:%S") + (micros != 0 ? text(".%06d", micros) : std::string()) + format(time, "%:z");
}

}  // namespace predsnap
