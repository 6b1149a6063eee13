// SPDX-License-Identifier: GPL-2.0-or-later
//
// Measures streams: how fast history is put into them and merged on one core, what they take, and what a random read of
// 4 KiB from one costs. On the content of tools/replay: pages of a database, text, and random data. Prints JSON.
#include <sys/resource.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bench_device.h"
#include "bench_host.h"
#include "block/engine/buffer.h"
#include "block/engine/engine.h"
#include "must.h"
#include "tools/replay/content.h"

namespace predsnap::bench {
namespace {

[[noreturn]] void usage() {
    std::fputs("usage: stream-bench IMAGE MIB LEVEL [DICTIONARY_FRAMES]\n\n"
               "A new image of so many MiB, written three times: wholly, half of it at random, wholly; with snapshots between.\n"
               "History is sealed into two streams, these are merged, and pages of the result are read at random.\n"
               "LEVEL: zstd's. DICTIONARY_FRAMES: streams of so many frames are tried with a dictionary (128; 0: none).\n",
               stderr);
    _exit(2);
}

uint64_t parse(const char* text) {
    char* end = nullptr;
    const uint64_t value = std::strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        usage();
    }
    return value;
}

struct Clocks {
    double user_s, system_s, wall_s;

    static Clocks now() {
        rusage used;
        getrusage(RUSAGE_SELF, &used);
        timespec wall;
        clock_gettime(CLOCK_MONOTONIC, &wall);
        const auto seconds = [](const timeval& t) {
            return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
        };
        return {seconds(used.ru_utime), seconds(used.ru_stime),
                static_cast<double>(wall.tv_sec) + static_cast<double>(wall.tv_nsec) / 1e9};
    }
    Clocks since(const Clocks& o) const { return {user_s - o.user_s, system_s - o.system_s, wall_s - o.wall_s}; }
};

class StreamBench {
  public:
    StreamBench(BenchHost& host, Device& file, uint64_t mib, int level, uint64_t dictionary_frames)
        : host_(host), file_(file), pages_(mib << 20 >> 12), model_({}), random_(1) {
        CreateOptions create;
        create.size = pages_ * replay::kPageSize;
        must(Engine::create(host_, file_, create), "create");
        OpenOptions open;
        open.compression_level = level;
        open.dictionary_frames = dictionary_frames;
        open.fine.staging_bytes = 0;
        engine_ = must(Engine::open(host_, file_, open), "open");
    }

    void run() {
        write_all(1);
        snapshot("a");
        for (uint64_t i = 0; i < pages_ / 2; ++i) {
            write(next() % pages_, 1, 2);
        }
        snapshot("b");
        write_all(3);
        must(engine_->flush(), "flush");
        host_.run_others();
        const EngineStats before = engine_->stats();
        const Clocks sealing = coalesce(host_.now() + 1'000'000);
        const EngineStats sealed = engine_->stats();
        engine_->pause_background();
        must(engine_->snapshot_delete("b"), "snapshot-delete");
        const Clocks merging = coalesce(std::nullopt);
        const EngineStats merged = engine_->stats();
        std::printf("{\n");
        print("sealed", sealed.sealed_bytes - before.sealed_bytes, sealing);
        print("merged", merged.coalesced_bytes - sealed.coalesced_bytes, merging);
        std::printf("  \"stream bytes\": %" PRIu64 ", \"of sealed\": %.3f, \"dictionaries trained\": %" PRIu64
                    ", \"streams with one\": %" PRIu64 ",\n",
                    sealed.stream_bytes - before.stream_bytes,
                    static_cast<double>(sealed.stream_bytes - before.stream_bytes) /
                        static_cast<double>(sealed.sealed_bytes - before.sealed_bytes),
                    merged.dictionaries_trained, merged.dictionaries_used);
        read_at_random();
        std::printf("}\n");
    }

  private:
    uint64_t next() {
        random_ ^= random_ << 13;
        random_ ^= random_ >> 7;
        return random_ ^= random_ << 17;
    }
    void write(uint64_t page, uint64_t count, uint32_t version) {
        AlignedBuffer data(count * replay::kPageSize);
        for (uint64_t i = 0; i < count; ++i) {
            model_.fill(page + i, version, replay::Page(data.data() + i * replay::kPageSize, replay::kPageSize));
        }
        const iovec vector{data.data(), data.size()};
        must(engine_->write(page * replay::kPageSize, {&vector, 1}), "write");
        host_.run_others();
    }
    void write_all(uint32_t version) {
        for (uint64_t page = 0; page < pages_; page += 16) {
            write(page, 16, version);
        }
    }
    void snapshot(const char* name) {
        SnapshotInfo info;
        info.name = name;
        static_cast<void>(must(engine_->snapshot_create(info), "snapshot"));
    }
    Clocks coalesce(std::optional<Time> until) {
        const Clocks begin = Clocks::now();
        engine_->begin_coalescing(until);
        engine_->resume_background();
        host_.run_others();
        const Clocks used = Clocks::now().since(begin);
        const Engine::CoalesceStatus status = engine_->coalescing();
        if (status.running || status.error != 0) {
            std::fprintf(stderr, "stream-bench: coalescing has not ended well (%s)\n", std::strerror(status.error));
            _exit(1);
        }
        return used;
    }
    static void print(const char* name, uint64_t bytes, const Clocks& used) {
        const double mb = static_cast<double>(bytes) / 1e6;
        std::printf("  \"%s\": {\"MB\": %.0f, \"MB/s of CPU\": %.0f, \"MB/s of user CPU\": %.0f, \"MB/s\": %.0f},\n", name, mb,
                    mb / (used.user_s + used.system_s), mb / used.user_s, mb / used.wall_s);
    }
    void read_at_random() {
        constexpr uint64_t kReads = 20'000;
        Moment moment;
        moment.snapshot = "a";
        const auto view = must(engine_->open_view(moment), "view");
        AlignedBuffer data(replay::kPageSize), expected(replay::kPageSize);
        const iovec vector{data.data(), data.size()};
        uint64_t wrong = 0;
        const Clocks begin = Clocks::now();
        for (uint64_t i = 0; i < kReads; ++i) {
            must(view->read(next() % pages_ * replay::kPageSize, {&vector, 1}), "read");
        }
        const Clocks used = Clocks::now().since(begin);
        for (uint64_t i = 0; i < kReads / 10; ++i) {
            const uint64_t page = next() % pages_;
            must(view->read(page * replay::kPageSize, {&vector, 1}), "read");
            model_.fill(page, 1, replay::Page(expected.data(), replay::kPageSize));
            wrong += std::memcmp(data.data(), expected.data(), replay::kPageSize) != 0;
        }
        std::printf("  \"random 4 KiB read\": {\"user us\": %.2f, \"system us\": %.2f, \"us\": %.2f, \"wrong\": %" PRIu64 "}\n",
                    used.user_s * 1e6 / kReads, used.system_s * 1e6 / kReads, used.wall_s * 1e6 / kReads, wrong);
        if (wrong > 0) {
            std::fflush(stdout);
            _exit(1);
        }
    }

    BenchHost& host_;
    Device& file_;
    const uint64_t pages_;
    replay::ContentModel model_;
    uint64_t random_;
    std::unique_ptr<Engine> engine_;
};

int main(int argc, char** argv) {
    if (argc != 4 && argc != 5) {
        usage();
    }
    const uint64_t mib = parse(argv[2]), level = parse(argv[3]), frames = argc > 4 ? parse(argv[4]) : 128;
    if (mib == 0 || level < 1 || level > 19) {
        usage();
    }
    BenchHost host(0);  // all in one thread
    const auto file = must(FileDevice::open(host, argv[1], true), "image");
    host.run([&] {
        StreamBench bench(host, *file, mib, static_cast<int>(level), frames);
        bench.run();
        std::fflush(stdout);
        _exit(host.reports() > 0 ? 1 : 0);
    });
    return 0;
}

}  // namespace
}  // namespace predsnap::bench

int main(int argc, char** argv) { return predsnap::bench::main(argc, argv); }
