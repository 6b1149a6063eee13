// SPDX-License-Identifier: GPL-2.0-or-later
#include "sim_host.h"

#include <algorithm>
#include <utility>

namespace predsnap::sim {
namespace {
constexpr int64_t kClockStartUs = 1'800'000'000'000'000;  // early in 2027
}

SimHost::SimHost(Scheduler& scheduler, uint64_t seed)
    : scheduler_(scheduler), random_(seed, 2), spawned_(scheduler) {}

Time SimHost::now() {
    return Time(kClockStartUs + clock_offset_us_ + static_cast<int64_t>(scheduler_.now_us()));
}

void SimHost::spawn(std::function<void()> body) {
    spawned_.add();
    scheduler_.spawn("engine background", [this, body = std::move(body)]() mutable {
        {
            const std::function<void()> run = std::move(body);
            run();
        }  // what it holds of the engine is let go before the engine may be dropped
        spawned_.done();
    });
}

void SimHost::run_on_executor(const std::function<void()>& work) {
    scheduler_.sleep(random_.skewed(500));
    work();
    scheduler_.yield();
}

void SimHost::report(Event event, uint64_t offset, uint64_t length, std::string_view message) {
    scheduler_.trace(10, offset, length);
    reports_.push_back({event, offset, length, std::string(message)});
    corruption_reports_ += event == Event::corruption;
}

uint64_t SimHost::count(Event event) const {
    return static_cast<uint64_t>(
        std::count_if(reports_.begin(), reports_.end(), [&](const Report& report) { return report.event == event; }));
}

}  // namespace predsnap::sim
