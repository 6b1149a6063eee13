// SPDX-License-Identifier: GPL-2.0-or-later
//
// What cleaning costs, and where each byte goes: the engine on a modelled disk, which is overwritten at random. Prints
// JSON that is the same in each run; see usage().
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "block/engine/buffer.h"
#include "block/engine/engine.h"
#include "modelled_disk.h"

namespace predsnap::bench {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr Time kBegin{1'700'000'000'000'000};

struct Settings {
    uint64_t size_mib = 1024;    // of the disk
    uint64_t fill_percent = 75;  // of it, which is then overwritten
    uint64_t times = 6;          // so often
    uint64_t depth = 32;
    uint64_t segment_kib = 8192;
    uint64_t flush_every = 0;    // writes; 0: never
    uint64_t snapshot_every = 0; // writes; 0: never
    uint64_t hot_percent = 0;    // of the writes go to a tenth of what is filled; 0: uniform
    uint64_t random_percent = 100;  // of the content; the rest is zeros
    uint64_t apart = 0;          // what would be moved is put apart
    bool limited = true;         // cdp-window=0
};

[[noreturn]] void usage() {
    std::fputs(
        "usage: overwrite-model [NAME=NUMBER...]\n\n"
        "  size=MIB fill=PERCENT   the disk, and how much of it is filled and then overwritten (1024, 75)\n"
        "  times=N depth=N         how often; writes of 4 KiB at once (6, 32)\n"
        "  segment=KIB flush=N     segments of the image; a flush after each so many writes, 0: none (8192, 0)\n"
        "  hot=PERCENT             of the writes go to a tenth; 0: all are uniform (0)\n"
        "  snapshot=N              a snapshot after each so many writes, which is kept; 0: none (0)\n"
        "  random=PERCENT          of the content is random, the rest zeros (100)\n"
        "  apart=1                 what is copied to make room is put apart (0)\n"
        "  limited=0               all history is kept\n",
        stderr);
    std::exit(2);
}

Settings parse(int argc, char** argv) {
    Settings s;
    uint64_t limited = 1;
    const std::pair<const char*, uint64_t*> names[] = {
        {"size", &s.size_mib},   {"fill", &s.fill_percent}, {"times", &s.times},     {"depth", &s.depth},
        {"segment", &s.segment_kib}, {"flush", &s.flush_every}, {"hot", &s.hot_percent}, {"limited", &limited},
        {"snapshot", &s.snapshot_every}, {"apart", &s.apart}, {"random", &s.random_percent}};
    for (int i = 1; i < argc; ++i) {
        const char* const equals = std::strchr(argv[i], '=');
        const std::string name(argv[i], equals != nullptr ? static_cast<size_t>(equals - argv[i]) : 0);
        bool known = false;
        for (const auto& [key, value] : names) {
            if (name == key) {
                char* end = nullptr;
                *value = std::strtoull(equals + 1, &end, 10);
                known = end != equals + 1 && *end == '\0';
            }
        }
        if (!known) {
            usage();
        }
    }
    s.limited = limited != 0;
    return s;
}

template <typename T>
T must(Result<T> result) {
    if (!result.ok()) {
        std::fprintf(stderr, "overwrite-model: %s (%s)\n", result.error().message.c_str(),
                     std::strerror(result.error().code));
        std::exit(1);
    }
    return result.take();
}

class Overwrite {
  public:
    Overwrite(BenchHost& host, ModelledDisk& disk, const Settings& settings)
        : host_(host), disk_(disk), settings_(settings), live_(settings.size_mib * kMiB / 100 * settings.fill_percent) {
        live_ = align_down(live_, kMiB);
    }

    void run() {
        CreateOptions create;
        create.size = settings_.size_mib * kMiB;
        create.segment_size = static_cast<uint32_t>(settings_.segment_kib << 10);
        must(Engine::create(host_, disk_, create));
        OpenOptions options;
        options.placement = settings_.apart != 0 ? Placement::apart : Placement::log;
        engine_ = must(Engine::open(host_, disk_, options));
        if (settings_.limited) {
            Retention none;
            none.window_us = 0;
            must(engine_->set_retention(none));
        }
        write(live_ / (128 << 10), 128 << 10, false);
        begin_ = engine_->stats();
        const uint64_t written = disk_.written_bytes();
        disk_.forget_most();
        latencies_us_.clear();
        const Time from = host_.now();
        write(live_ / kBlockSize * settings_.times, kBlockSize, true);
        report(disk_.written_bytes() - written, host_.now() - from);
    }

  private:
    void write(uint64_t count, uint64_t length, bool random) {
        size_t running = settings_.depth;
        Task* const waiting = host_.self();
        uint64_t next = 0;
        for (size_t i = 0; i < settings_.depth; ++i) {
            host_.spawn([&] {
                AlignedBuffer buffer(length);
                while (next < count) {
                    const uint64_t number = next++;
                    const uint64_t offset = (random ? pick() : number) * length;
                    fill(buffer);
                    const iovec vector{buffer.data(), length};
                    const Time begin = host_.now();
                    must(engine_->write(offset, {&vector, 1}));
                    latencies_us_.push_back(host_.now() - begin);
                    watch();
                    if (random && settings_.flush_every > 0 && number % settings_.flush_every == 0) {
                        must(engine_->flush());
                    }
                    if (random && settings_.snapshot_every > 0 && number % settings_.snapshot_every == 0) {
                        SnapshotInfo wanted;
                        wanted.name = "s" + std::to_string(number);
                        must(engine_->snapshot_create(wanted));
                    }
                }
                if (--running == 0) {
                    host_.wake(waiting);
                }
            });
        }
        host_.suspend();
    }

    uint64_t pick() {
        const uint64_t blocks = live_ / kBlockSize;
        return random_() % 100 < settings_.hot_percent ? random_() % (blocks / 10) : random_() % blocks;
    }

    void fill(AlignedBuffer& buffer) {
        for (size_t i = 0; i + sizeof(uint64_t) <= buffer.size(); i += sizeof(uint64_t)) {
            // Of each 512 bytes the first are random, the rest zeros.
            const uint64_t word = i % kSectorSize * 100 < settings_.random_percent * kSectorSize ? random_() : 0;
            std::memcpy(buffer.data() + i, &word, sizeof(word));
        }
    }

    // What the image was made of when it was largest.
    void watch() {
        if (disk_.most_allocated_bytes() > most_) {
            most_ = disk_.most_allocated_bytes();
            at_most_ = engine_->info();
        }
    }

    double percentile(double share) {
        std::sort(latencies_us_.begin(), latencies_us_.end());
        return static_cast<double>(latencies_us_[static_cast<size_t>(share * static_cast<double>(latencies_us_.size() - 1))]) /
               1000;
    }

    void report(uint64_t written, int64_t us) {
        const EngineStats end = engine_->stats();
        const auto guest = static_cast<double>(end.write_bytes - begin_.write_bytes);
        const auto rate = [&](uint64_t EngineStats::*member) {
            return static_cast<double>(end.*member - begin_.*member) / guest;
        };
        const double moved = rate(&EngineStats::moved_bytes);
        const double segment = static_cast<double>(settings_.segment_kib << 10);
        const auto live = static_cast<double>(live_);
        const auto most = static_cast<double>(most_);
        std::printf("{\"written\": %.3f, \"log\": %.3f, \"moved\": %.3f, \"apart\": %.3f, \"in packs\": %.3f, \"ahead\": %.3f, \"index\": %.3f, "
                    "\"checkpoint\": %.3f, \"given back\": %.3f,\n",
                    static_cast<double>(written) / guest, rate(&EngineStats::batch_bytes) - moved, moved,
                    rate(&EngineStats::packed_bytes), rate(&EngineStats::pack_bytes),
                    rate(&EngineStats::prewritten_bytes), rate(&EngineStats::index_bytes),
                    rate(&EngineStats::checkpoint_bytes), rate(&EngineStats::given_back_bytes));
        std::printf(" \"image / live\": %.3f, \"segments above 1.25 x live\": %.1f, \"p50 ms\": %.2f, \"p99 ms\": %.2f, "
                    "\"p99.9 ms\": %.2f, \"max ms\": %.1f, \"seconds\": %.2f,\n",
                    most / live, (most - 1.25 * live) / segment, percentile(0.5), percentile(0.99), percentile(0.999),
                    percentile(1), static_cast<double>(us) / 1e6);
        std::printf(" \"segments at most\": {\"total\": %" PRIu64 ", \"log\": %" PRIu64 ", \"past\": %" PRIu64
                    ", \"index\": %" PRIu64 ", \"checkpoint\": %" PRIu64 ", \"ready\": %" PRIu64 ", \"free\": %" PRIu64
                    ", \"leaving\": %" PRIu64 "}, \"writes per batch\": %.1f}\n",
                    at_most_.segments_total, at_most_.segments_log, at_most_.segments_past, at_most_.segments_index,
                    at_most_.segments_checkpoint, at_most_.segments_ready, at_most_.segments_free,
                    at_most_.segments_leaving,
                    static_cast<double>(end.writes - begin_.writes) / static_cast<double>(end.batches - begin_.batches));
    }

    BenchHost& host_;
    ModelledDisk& disk_;
    const Settings& settings_;
    uint64_t live_;
    std::mt19937_64 random_{1};
    std::unique_ptr<Engine> engine_;
    EngineStats begin_;
    std::vector<int64_t> latencies_us_;
    uint64_t most_ = 0;
    EngineInfo at_most_;
};

int main(int argc, char** argv) {
    const Settings settings = parse(argc, argv);
    BenchHost host(0);
    ModelledDisk disk(host, kBegin, settings.size_mib * kMiB * (settings.limited ? 3 : 3 + settings.times));
    host.run([&] {
        host.spawn([&] { disk.run_clock(); });
        Overwrite(host, disk, settings).run();
        std::fflush(stdout);
        _Exit(host.reports() > 0 ? 1 : 0);  // as in a crash: nothing has to be closed
    });
    return 0;
}

}  // namespace
}  // namespace predsnap::bench

int main(int argc, char** argv) { return predsnap::bench::main(argc, argv); }
