// SPDX-License-Identifier: GPL-2.0-or-later
//
// Measures the engine alone, on a file with O_DIRECT, and prints JSON; see usage(). Every command
// ends as in a crash: the image is not closed.
#include <sys/resource.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench_device.h"
#include "bench_host.h"
#include "block/engine/buffer.h"
#include "block/engine/engine.h"
#include "must.h"

namespace predsnap::bench {
namespace {

constexpr size_t kWorkers = 16;
constexpr size_t kFillDepth = 512;
constexpr size_t kRollbackDepth = 128;

[[noreturn]] void usage() {
    std::fputs(
        "usage: engine-bench fill IMAGE EXTENTS            new image: that many scattered sectors\n"
        "       engine-bench open IMAGE WRITES             time to open; then overwrites, and a "
        "crash\n"
        "       engine-bench snapshot IMAGE ROUNDS         snapshots and bare flushes, in turns\n"
        "       engine-bench rollback IMAGE WRITES ROUNDS  rollbacks over so many 4 KiB writes\n"
        "       engine-bench cpu WRITES DEPTH              CPU of 4 KiB writes to nowhere\n"
        "       engine-bench pages WRITES DEPTH [IMAGE]    the same to a database's pages: log and CPU\n",
        stderr);
    _exit(2);
}

uint64_t parse(const char* text) {
    char* end = nullptr;
    const uint64_t value = std::strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value == 0) {
        usage();
    }
    return value;
}

uint64_t resident_bytes() {
    uint64_t total = 0, resident = 0;
    if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
        if (std::fscanf(file, "%" SCNu64 " %" SCNu64, &total, &resident) != 2) {
            resident = 0;
        }
        std::fclose(file);
    }
    return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Visits the blocks of a disk of a power of two in an order without pattern, each once.
class Scatter {
  public:
    explicit Scatter(uint64_t blocks) {
        while ((1ull << bits_) < blocks) {
            ++bits_;
        }
    }
    uint64_t blocks() const { return 1ull << bits_; }
    uint64_t next() {
        const uint64_t mask = blocks() - 1;
        uint64_t x = i_++ & mask;
        for (unsigned round = 0; round < 3; ++round) {
            x = (x * 0x9e3779b97f4a7c15ull + round) & mask;
            x ^= x >> (bits_ / 2 + 1);
        }
        return x;
    }
    void skip_to(uint64_t i) { i_ = i; }

  private:
    unsigned bits_ = 4;
    uint64_t i_ = 0;
};

int64_t cpu_us() {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

// What the process had used before something that is measured.
struct Usage {
    uint64_t resident_bytes = bench::resident_bytes();
    int64_t cpu_us = bench::cpu_us();
};

// One image in use.
struct Bench {
    BenchHost& host;
    Device& device;
    std::unique_ptr<Engine> engine = nullptr;

    void open() { engine = must(Engine::open(host, device, OpenOptions{}), "open"); }
    void write_all(Scatter& scatter, uint64_t count, size_t length, size_t depth);
    int64_t time_us(const std::function<void()>& action);
};

// `depth` tasks share the writes.
void Bench::write_all(Scatter& scatter, uint64_t count, size_t length, size_t depth) {
    size_t running = depth;
    Task* waiting = host.self();
    for (size_t i = 0; i < depth; ++i) {
        host.spawn([&] {
            AlignedBuffer buffer(length);
            std::memset(buffer.data(), 0x5a, buffer.size());
            const iovec vector{buffer.data(), length};
            while (count > 0) {
                --count;
                must(engine->write(scatter.next() * kBlockSize, {&vector, 1}), "write");
            }
            if (--running == 0) {
                host.wake(waiting);
            }
        });
    }
    host.suspend();
}

int64_t Bench::time_us(const std::function<void()>& action) {
    const Time begin = host.now();
    action();
    return host.now() - begin;
}

void print_state(const Engine& engine, const Usage& before) {
    const EngineInfo info = engine.info();
    const EngineStats stats = engine.stats();
    std::printf("{\"live_extents\": %" PRIu64 ", \"map_memory_bytes\": %" PRIu64
                ", \"resident_growth_bytes\": %" PRId64 ", \"image_bytes\": %" PRIu64
                ", \"virtual_size\": %" PRIu64 ", \"open_us\": %" PRId64 ", \"cpu_us\": %" PRId64
                ", \"recovered_batches\": %" PRIu64 ", \"checkpoints\": %" PRIu64 "}\n",
                info.live_extents, info.map_memory_bytes,
                static_cast<int64_t>(resident_bytes() - before.resident_bytes), info.image_bytes,
                info.virtual_size, stats.open_us, cpu_us() - before.cpu_us, stats.recovered_batches,
                stats.checkpoints);
}

void print_list(const char* name, const std::vector<int64_t>& values, const char* end) {
    std::printf("\"%s\": [", name);
    for (size_t i = 0; i < values.size(); ++i) {
        std::printf("%s%" PRId64, i > 0 ? ", " : "", values[i]);
    }
    std::printf("]%s", end);
}

// A sector in each of so many blocks: as many extents as 4 KiB writes would make, with less to
// write.
void fill(Bench& bench, uint64_t extents) {
    Scatter scatter(extents);
    CreateOptions options;
    options.size = scatter.blocks() * kBlockSize;
    must(Engine::create(bench.host, bench.device, options), "create");
    const Usage before;
    bench.open();
    bench.write_all(scatter, extents, kSectorSize, kFillDepth);
    must(bench.engine->flush(), "flush");
    print_state(*bench.engine, before);
}

void open(Bench& bench, uint64_t writes) {
    const Usage before;
    bench.open();
    print_state(*bench.engine, before);
    Scatter scatter(bench.engine->size() / kBlockSize);
    scatter.skip_to(bench.host.random());
    bench.write_all(scatter, writes, kSectorSize, kFillDepth);
    must(bench.engine->flush(), "flush");
}

void snapshot(Bench& bench, uint64_t rounds) {
    bench.open();
    Scatter scatter(bench.engine->size() / kBlockSize);
    const std::string prefix = std::to_string(bench.host.now().value) + "-";
    std::vector<int64_t> snapshots, flushes;
    for (uint64_t i = 0; i < rounds; ++i) {
        bench.write_all(scatter, 1, kBlockSize, 1);
        SnapshotInfo wanted;
        wanted.name = prefix + std::to_string(i);
        snapshots.push_back(bench.time_us(
            [&] { static_cast<void>(must(bench.engine->snapshot_create(wanted), "snapshot")); }));
        bench.write_all(scatter, 1, kBlockSize, 1);
        flushes.push_back(bench.time_us([&] { must(bench.engine->flush(), "flush"); }));
    }
    std::printf("{");
    print_list("snapshot_us", snapshots, ", ");
    print_list("flush_us", flushes, "}\n");
}

void rollback(Bench& bench, uint64_t writes, uint64_t rounds) {
    bench.open();
    Scatter scatter(bench.engine->size() / kBlockSize);
    const std::string prefix = std::to_string(bench.host.now().value) + "-";
    std::vector<int64_t> times, cpu_times;
    for (uint64_t i = 0; i < rounds; ++i) {
        SnapshotInfo wanted;
        wanted.name = prefix + std::to_string(i);
        static_cast<void>(must(bench.engine->snapshot_create(wanted), "snapshot"));
        bench.write_all(scatter, writes, kBlockSize, kRollbackDepth);
        must(bench.engine->flush(), "flush");
        Moment moment;
        moment.snapshot = wanted.name;
        const int64_t cpu_before_us = cpu_us();
        times.push_back(bench.time_us(
            [&] { static_cast<void>(must(bench.engine->rollback(moment), "rollback")); }));
        cpu_times.push_back(cpu_us() - cpu_before_us);
    }
    std::printf("{");
    print_list("rollback_us", times, ", ");
    print_list("cpu_us", cpu_times, "}\n");
}

double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

// The fibers' switches count as system time, which the engine itself uses none of.
void cpu(Bench& bench, uint64_t writes, uint64_t depth) {
    Scatter scatter(1 << 18);
    CreateOptions options;
    options.size = scatter.blocks() * kBlockSize;
    must(Engine::create(bench.host, bench.device, options), "create");
    bench.open();
    rusage begin, end;
    getrusage(RUSAGE_SELF, &begin);
    bench.write_all(scatter, writes, kBlockSize, depth);
    getrusage(RUSAGE_SELF, &end);
    const auto count = static_cast<double>(writes);
    const EngineStats stats = bench.engine->stats();
    std::printf("{\"user_us\": %.4f, \"system_us\": %.4f, \"writes_per_batch\": %.2f}\n",
                (seconds(end.ru_utime) - seconds(begin.ru_utime)) * 1e6 / count,
                (seconds(end.ru_stime) - seconds(begin.ru_stime)) * 1e6 / count,
                count / static_cast<double>(stats.batches));
}

// The pages of a database that are in use: of each 4 KiB, a twentieth changes with each write, in a few places.
class Pages {
  public:
    explicit Pages(uint64_t count) : bytes_(count * kBlockSize) {
        for (size_t i = 0; i < bytes_.size(); i += sizeof(uint64_t)) {
            const uint64_t word = random_();
            std::memcpy(bytes_.data() + i, &word, sizeof(word));
        }
    }
    uint64_t pick() { return random_() % (bytes_.size() / kBlockSize); }
    // The number of the write in the page's head, and some rows.
    uint8_t* change(uint64_t page) {
        uint8_t* const at = bytes_.data() + page * kBlockSize;
        const uint64_t number = ++writes_;
        std::memcpy(at, &number, sizeof(number));
        for (size_t left = kBlockSize / 20 - sizeof(number); left > 0;) {
            const size_t length = std::min<size_t>(left, 16 + random_() % 48);
            uint8_t* const row = at + random_() % (kBlockSize - length);
            for (size_t i = 0; i < length; ++i) {
                row[i] = static_cast<uint8_t>(random_());
            }
            left -= length;
        }
        return at;
    }

  private:
    std::mt19937_64 random_{1};
    uint64_t writes_ = 0;
    std::vector<uint8_t> bytes_;
};

struct PageWrites {
    double log = 0, index = 0, cpu_us = 0, deltas = 0;  // bytes of log for each of the guest; of writes
    double per_batch = 0;
};

PageWrites write_pages(BenchHost& host, Device& device, Granularity granularity, uint64_t writes, uint64_t depth) {
    constexpr uint64_t kPages = 4096;
    CreateOptions image;
    image.size = 1ull << 30;
    must(Engine::create(host, device, image), "create");
    OpenOptions options;
    options.fine.granularity = granularity;
    auto engine = must(Engine::open(host, device, options), "open");
    Pages pages(kPages);
    const auto write_all = [&](uint64_t count) {
        size_t running = depth;
        Task* const waiting = host.self();
        for (size_t i = 0; i < depth; ++i) {
            host.spawn([&] {
                while (count > 0) {
                    --count;
                    const uint64_t page = pages.pick();
                    const iovec vector{pages.change(page), kBlockSize};
                    must(engine->write(page * kBlockSize * 61 % image.size, {&vector, 1}), "write");
                }
                if (--running == 0) {
                    host.wake(waiting);
                }
            });
        }
        host.suspend();
    };
    write_all(kPages * 6);  // until the cache has them
    const EngineStats before = engine->stats();
    const int64_t cpu_before_us = cpu_us();
    write_all(writes);
    const int64_t cpu_after_us = cpu_us();
    const EngineStats after = engine->stats();
    const auto bytes = static_cast<double>(after.write_bytes - before.write_bytes);
    const auto count = static_cast<double>(writes);
    const PageWrites result{static_cast<double>(after.batch_bytes - before.batch_bytes) / bytes,
                            static_cast<double>(after.index_bytes - before.index_bytes) / bytes,
                            static_cast<double>(cpu_after_us - cpu_before_us) / count,
                            static_cast<double>(after.deltas - before.deltas) / count,
                            count / static_cast<double>(after.batches - before.batches)};
    engine->pause_background();
    must(engine->close(), "close");
    return result;
}

void pages(BenchHost& host, Device& device, uint64_t writes, uint64_t depth) {
    // What making up the pages costs is in all of them.
    Pages made_up(4096);
    const int64_t begin_us = cpu_us();
    for (uint64_t i = 0; i < writes; ++i) {
        made_up.change(made_up.pick());
    }
    const double own_us = static_cast<double>(cpu_us() - begin_us) / static_cast<double>(writes);
    std::printf("{\"making_up_us\": %.3f", own_us);
    const std::pair<const char*, Granularity> kinds[] = {
        {"sub_block", Granularity::sub_block}, {"fine", Granularity::fine}, {"auto", Granularity::automatic}};
    for (const auto& [name, granularity] : kinds) {
        const PageWrites result = write_pages(host, device, granularity, writes, depth);
        std::printf(", \"%s\": {\"log_bytes_per_byte\": %.4f, \"index_bytes_per_byte\": %.4f, \"cpu_us\": %.3f, "
                    "\"deltas_per_write\": %.3f, \"writes_per_batch\": %.1f}",
                    name, result.log, result.index, result.cpu_us - own_us, result.deltas, result.per_batch);
    }
    std::printf("}\n");
}

// Runs as a task, and ends the process as a crash does: no destructor gets to close anything.
[[noreturn]] void run(BenchHost& host, Device& device, const std::function<void(Bench&)>& command) {
    host.run([&] {
        Bench bench{host, device};
        command(bench);
        std::fflush(stdout);
        _exit(host.reports() > 0 ? 1 : 0);
    });
    std::abort();
}

[[noreturn]] void run_on_file(const char* path, bool create,
                              const std::function<void(Bench&)>& command) {
    BenchHost host(kWorkers);
    const std::unique_ptr<FileDevice> device = must(FileDevice::open(host, path, create), "image");
    run(host, *device, command);
}

// Numbers are read before an image is touched.
[[noreturn]] void main(const std::vector<const char*>& args) {
    const std::string command = args.empty() ? "" : args[0];
    const uint64_t second = args.size() > 2 ? parse(args[2]) : 0;
    const uint64_t third = args.size() > 3 && command != "pages" ? parse(args[3]) : 0;
    if (command == "fill" && args.size() == 3) {
        run_on_file(args[1], true, [&](Bench& bench) { fill(bench, second); });
    } else if (command == "open" && args.size() == 3) {
        run_on_file(args[1], false, [&](Bench& bench) { open(bench, second); });
    } else if (command == "snapshot" && args.size() == 3) {
        run_on_file(args[1], false, [&](Bench& bench) { snapshot(bench, second); });
    } else if (command == "rollback" && args.size() == 4) {
        run_on_file(args[1], false, [&](Bench& bench) { rollback(bench, second, third); });
    } else if (command == "cpu" && args.size() == 3) {
        const uint64_t writes = parse(args[1]);
        BenchHost host(0);
        NullDevice device(host);
        run(host, device, [&](Bench& bench) { cpu(bench, writes, second); });
    } else if (command == "pages" && args.size() == 3) {
        const uint64_t writes = parse(args[1]);
        BenchHost host(0);
        NullDevice device(host);
        run(host, device, [&](Bench&) { pages(host, device, writes, second); });
    } else if (command == "pages" && args.size() == 4) {
        const uint64_t writes = parse(args[1]);
        run_on_file(args[3], true, [&](Bench& bench) { pages(bench.host, bench.device, writes, second); });
    }
    usage();
}

}  // namespace
}  // namespace predsnap::bench

int main(int argc, char** argv) {
    predsnap::bench::main(std::vector<const char*>(argv + 1, argv + argc));
}
