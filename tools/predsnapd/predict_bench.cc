// SPDX-License-Identifier: GPL-2.0-or-later
//
// What predicting costs: features, training, scoring, and the daemon's work for one disk in steady state. Prints JSON.
// All in one thread, on a load made here from a seed; see usage().
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

#include "disk_watch.h"

namespace predsnap::predict {
namespace {

constexpr char kUsage[] =
    "usage: predict-bench [RECORDS [RATE [MINUTES]]]\n\n"
    "RECORDS requests (1000000) are counted, then learnt from: records a second, time of training, scoring of a million\n"
    "chunks. Then the daemon's work for one disk at RATE requests a second (2000) for MINUTES of the guest's time (30):\n"
    "share of one core, memory. Prints JSON.\n";

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto of = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
    return of(usage.ru_utime) + of(usage.ru_stime);
}

uint64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    uint64_t size = 0, resident = 0;
    file >> size >> resident;
    return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

template <typename Fn>
double seconds_of(const Fn& fn) {
    const double begin = cpu_seconds();
    fn();
    return cpu_seconds() - begin;
}

[[noreturn]] void fail(const Error& error) {
    std::fprintf(stderr, "predict-bench: %s\n", error.message.c_str());
    std::exit(1);
}

template <typename T>
T must(Result<T> result) {
    if (!result.ok()) {
        fail(result.error());
    }
    return result.take();
}

// Eight of ten requests go to a tenth of 4 GiB, one runs on from the one before it, one goes anywhere; a third are reads.
class Load {
  public:
    explicit Load(int64_t per_second) : step_us_(kSecond / per_second) {}
    Access next() {
        const uint64_t kind = random_() % 10;
        const uint64_t chunk = kind < 8 ? random_() % (kChunks / 10) * 10 : random_() % kChunks;
        uint64_t offset = chunk * kChunkSize + random_() % 16 * 4096;
        if (kind == 8) {
            head_ = (head_ + 16384) % (kChunks * kChunkSize);
            offset = head_;
        }
        time_us_ += step_us_;
        return {time_us_, offset, kind == 8 ? 16384u : 4096u, random_() % 3 == 0 ? Op::kRead : Op::kWrite, 0.2f};
    }
    int64_t now_us() const { return time_us_; }

  private:
    static constexpr uint64_t kChunks = 65536;
    std::minstd_rand random_{1};
    const int64_t step_us_;
    int64_t time_us_ = 1'700'000'000 * kSecond;
    uint64_t head_ = 0;
};

void measure_features(size_t records) {
    Load load(1000);
    std::vector<Access> accesses;
    for (size_t i = 0; i < records; ++i) {
        accesses.push_back(load.next());
    }
    Activity activity;
    const double s = seconds_of([&] {
        for (const Access& access : accesses) {
            activity.observe(access);
        }
    });
    std::printf("  \"features\": {\"records\": %zu, \"seconds\": %.3f, \"records-per-second\": %.0f, \"chunks\": %zu},\n",
                records, s, static_cast<double>(records) / s, activity.chunks().size());
}

// Records are sampled from as they come, so what training takes does not depend on their number; both are given.
void measure_training(size_t records) {
    Forecaster::Options options;
    options.targets = daemon_targets();
    Forecaster forecaster(options);
    Load load(1000);
    const double observing = seconds_of([&] {
        for (size_t i = 0; i < records; ++i) {
            forecaster.observe(load.next());
        }
    });
    const double training = seconds_of([&] {
        if (const Result<void> done = forecaster.train(); !done.ok()) {
            fail(done.error());
        }
    });
    std::printf("  \"training\": {\"records\": %zu, \"rows\": %zu, \"models\": %zu, \"sampling-seconds\": %.2f, "
                "\"training-seconds\": %.2f},\n",
                records, forecaster.samples().row_count(), options.targets.size(), observing, training);

    constexpr size_t kMillion = 1'000'000;
    const Moment moment(forecaster.activity(), load.now_us());
    Rows rows{feature_names().size(), {}};
    rows.values.resize(kMillion * rows.columns);
    const double features = seconds_of([&] {
        for (size_t i = 0; i < kMillion; ++i) {
            moment.features(i % moment.candidates().size(),
                            std::span(rows.values).subspan(i * rows.columns, rows.columns));
        }
    });
    const Trees* model = forecaster.model(0);
    const double scoring = model == nullptr ? 0 : seconds_of([&] { static_cast<void>(model->predict(rows)); });
    std::printf("  \"scoring\": {\"chunks\": %zu, \"rows-seconds\": %.2f, \"model-seconds\": %.2f},\n", kMillion, features,
                scoring);
}

// As the daemon does: a prediction every ten seconds, one that is judged every minute, training every ten minutes.
void measure_daemon(int64_t per_second, int64_t minutes) {
    const uint64_t before = resident_bytes();
    Forecaster forecaster(disk_options());
    Load load(per_second);
    const int64_t begin_us = load.now_us();
    int64_t next_us = begin_us;
    double observing = 0, predicting = 0, training = 0;
    uint64_t peak = 0;
    for (int64_t tick = 0; tick < minutes * 6; ++tick) {
        next_us += 10 * kSecond;
        observing += seconds_of([&] {
            while (load.now_us() < next_us) {
                forecaster.observe(load.next());
            }
        });
        predicting += seconds_of([&] {
            if (tick % 6 == 5) {
                must(forecaster.forecast(next_us, true));
            }
            must(forecaster.forecast(next_us, false));
        });
        if (tick % 60 == 59) {
            training += seconds_of([&] {
                if (const Result<void> done = forecaster.train(); !done.ok()) {
                    fail(done.error());
                }
            });
        }
        peak = std::max(peak, resident_bytes());
    }
    const auto span = static_cast<double>(minutes * 60);
    std::printf("  \"daemon\": {\"requests-per-second\": %lld, \"minutes\": %lld, \"observing\": %.4f, \"predicting\": %.4f, "
                "\"training\": %.4f, \"share-of-a-core\": %.4f, \"memory-bytes\": %llu},\n",
                static_cast<long long>(per_second), static_cast<long long>(minutes), observing / span, predicting / span,
                training / span, (observing + predicting + training) / span,
                static_cast<unsigned long long>(peak - before));
}

int main(int argc, char** argv) {
    if (argc > 1 && std::strcmp(argv[1], "--help") == 0) {
        std::printf("%s", kUsage);
        return 0;
    }
    const auto argument = [&](int index, int64_t otherwise) {
        return argc > index ? std::max<int64_t>(std::atoll(argv[index]), 1) : otherwise;
    };
    std::printf("{\n");
    measure_daemon(argument(2, 2000), argument(3, 30));  // first, for its memory's sake
    measure_features(static_cast<size_t>(argument(1, 1'000'000)));
    measure_training(static_cast<size_t>(argument(1, 1'000'000)));
    std::printf("  \"columns\": %zu\n}\n", feature_names().size());
    return 0;
}

}  // namespace
}  // namespace predsnap::predict

int main(int argc, char** argv) { return predsnap::predict::main(argc, argv); }
