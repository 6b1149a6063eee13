// SPDX-License-Identifier: GPL-2.0-or-later
//
// What predicting costs: features, training, scoring, and the daemon's work for one disk in steady state. Prints JSON.
// All in one thread, on a load made here from a seed; see usage().
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>

#include "allocator.h"
#include "disk_watch.h"

namespace predsnap::predict {
namespace {

constexpr char kUsage[] =
    "usage: predict-bench [RECORDS [RATE [MINUTES [DISKS]]]]\n\n"
    "The daemon's work for DISKS disks (1), each at RATE requests a second (2000) for MINUTES of the guests' time (30): share\n"
    "of one core for each disk, memory of the whole process. Then RECORDS requests (1000000) are counted, and learnt from:\n"
    "records a second, time of training, scoring of a million chunks; with RECORDS 0 that is left out. Prints JSON.\n";

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

// The most that was ever resident.
uint64_t peak_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
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

// Eight of ten requests go to a tenth of 4 GiB, one runs on from the one before it, one goes anywhere; a third are reads.
class Load {
  public:
    explicit Load(int64_t per_second, uint32_t seed = 1) : random_(seed), step_us_(kSecond / per_second) {}
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
    std::minstd_rand random_;
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
    // A few rows at a time, as the daemon does.
    constexpr size_t kBlock = 256;
    std::vector<float> rows(kBlock * feature_names().size()), scores(kBlock);
    const Trees* model = forecaster.model(0);
    if (model == nullptr) {
        return;
    }
    double features = 0, scoring = 0;
    for (size_t first = 0; first < kMillion; first += kBlock) {
        const double begin = cpu_seconds();
        for (size_t i = 0; i < kBlock; ++i) {
            moment.features((first + i) % moment.candidates().size(),
                            std::span(rows).subspan(i * feature_names().size(), feature_names().size()));
        }
        const double middle = cpu_seconds();
        model->predict(rows.data(), kBlock, scores.data());
        features += middle - begin;
        scoring += cpu_seconds() - middle;
    }
    std::printf("  \"scoring\": {\"chunks\": %zu, \"rows-seconds\": %.2f, \"model-seconds\": %.2f},\n", kMillion, features,
                scoring);
}

// A disk as the daemon has it: a prediction every ten seconds, what is judged every minute, training every ten minutes.
struct Disk {
    Disk(int64_t per_second, uint32_t seed) : load(per_second, seed), forecaster(disk_options()) {}
    Load load;
    Forecaster forecaster;
};

struct Spent {
    double observing = 0, predicting = 0, training = 0;
};

void tick(Disk& disk, int64_t minutes_sixth, int64_t now_us, Spent& spent) {
    spent.observing += seconds_of([&] {
        while (disk.load.now_us() < now_us) {
            disk.forecaster.observe(disk.load.next());
        }
    });
    spent.predicting += seconds_of([&] {
        if (minutes_sixth % 6 == 5) {
            disk.forecaster.forecast(now_us, true, [&](const Target& target) { return is_judged(target, now_us); });
        }
        disk.forecaster.forecast(now_us, false, [](const Target& target) { return target.horizon_us == 60 * kSecond; });
    });
    if (minutes_sixth % 60 == 59) {
        spent.training += seconds_of([&] {
            if (const Result<void> done = disk.forecaster.train(); !done.ok()) {
                fail(done.error());
            }
            give_memory_back();
        });
    }
}

void measure_daemon(int64_t per_second, int64_t minutes, int64_t count) {
    std::vector<std::unique_ptr<Disk>> disks;
    for (int64_t i = 0; i < count; ++i) {
        disks.push_back(std::make_unique<Disk>(per_second, static_cast<uint32_t>(i + 1)));
    }
    const int64_t begin_us = disks[0]->load.now_us() / (60 * kSecond) * 60 * kSecond;
    Spent spent;
    uint64_t resident_max = 0;
    for (int64_t step = 0; step < minutes * 6; ++step) {
        for (const auto& disk : disks) {
            tick(*disk, step, begin_us + (step + 1) * 10 * kSecond, spent);
        }
        resident_max = std::max(resident_max, resident_bytes());
    }
    const auto span = static_cast<double>(minutes * 60 * count);
    std::printf("  \"daemon\": {\"disks\": %lld, \"requests-per-second\": %lld, \"minutes\": %lld, \"observing\": %.4f, "
                "\"predicting\": %.4f, \"training\": %.4f, \"share-of-a-core\": %.4f,\n    \"resident-max\": %llu, "
                "\"resident-peak-of-training\": %llu},\n",
                static_cast<long long>(count), static_cast<long long>(per_second), static_cast<long long>(minutes),
                spent.observing / span, spent.predicting / span, spent.training / span,
                (spent.observing + spent.predicting + spent.training) / span, static_cast<unsigned long long>(resident_max),
                static_cast<unsigned long long>(peak_bytes()));
}

int main(int argc, char** argv) {
    if (argc > 1 && std::strcmp(argv[1], "--help") == 0) {
        std::printf("%s", kUsage);
        return 0;
    }
    const auto argument = [&](int index, int64_t otherwise) {
        return argc > index ? std::max<int64_t>(std::atoll(argv[index]), 0) : otherwise;
    };
    const auto records = static_cast<size_t>(argument(1, 1'000'000));
    const int64_t rate = argument(2, 2000), minutes = argument(3, 30), disks = argument(4, 1);
    std::printf("{\n");
    if (rate > 0 && minutes > 0 && disks > 0) {
        measure_daemon(rate, minutes, disks);  // first, for its memory's sake
    }
    if (records > 0) {
        measure_features(records);
        measure_training(records);
    }
    std::printf("  \"columns\": %zu\n}\n", feature_names().size());
    return 0;
}

}  // namespace
}  // namespace predsnap::predict

int main(int argc, char** argv) {
    predsnap::predict::keep_memory_small();
    return predsnap::predict::main(argc, argv);
}
