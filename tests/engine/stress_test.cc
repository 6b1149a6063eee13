// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine used from several threads at once, as by QEMU's multiqueue. Each thread has a part of
// the disk to itself, so it knows exactly what must be there, now and in its own snapshots; the
// parts meet within blocks. To be run under ThreadSanitizer as well.
#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <vector>

#include "block/engine/engine.h"
#include "posix_host.h"
#include "tests/simulation/random.h"
#include "tests/simulation/stamp.h"

namespace predsnap::test {
namespace {

constexpr uint64_t kThreads = 6;
constexpr uint64_t kPartSectors = 1021;                // not whole blocks
constexpr uint64_t kShared = kThreads * kPartSectors;  // here all of them write
constexpr uint64_t kSharedSectors = 64;
constexpr uint64_t kDiskSectors = kShared + kSharedSectors;
constexpr int kRequests = 400;

using Values = std::vector<sim::Value>;

std::vector<uint8_t> stamped(uint64_t first, uint64_t count, sim::Value value) {
    std::vector<uint8_t> bytes(count * kSectorSize);
    for (uint64_t i = 0; i < count; ++i) {
        sim::stamp(bytes.data() + i * kSectorSize, first + i, value);
    }
    return bytes;
}

class Stress : public testing::Test {
  protected:
    void open() {
        OpenOptions options;
        options.pool_min = 1 << 20;
        options.pool_max = 4 << 20;
        options.point_interval_us = 10'000;
        options.fine.granularity = Granularity::fine;
        options.fine.staging_bytes = 64 * kBlockSize;
        auto opened = Engine::open(host, file, options);
        ASSERT_TRUE(opened.ok()) << opened.error().message;
        engine = opened.take();
    }
    void close() {
        ASSERT_TRUE(engine->close().ok());
        host.join_spawned();
        engine.reset();
    }

    FileDevice file;
    PosixHost host;
    std::unique_ptr<Engine> engine;
};

// One thread and what it knows of its part.
class Worker {
  public:
    Worker(Engine& engine, uint64_t number)
        : engine_(engine), number_(number), random_(number, 1), now_(kPartSectors, sim::kZero) {}

    void run() {
        for (int i = 0; i < kRequests && !testing::Test::HasFailure(); ++i) {
            step();
        }
        for (const auto& [name, values] : snapshots_) {
            check_view(name, values);
        }
    }

    void check_now(Engine& engine) const {
        check(
            [&](std::vector<uint8_t>& bytes) {
                const iovec whole{bytes.data(), bytes.size()};
                return engine.read(number_ * kPartSectors * kSectorSize, {&whole, 1});
            },
            now_, "disk");
    }

  private:
    void step() {
        switch (random_.below(20)) {
            case 0:
                require(engine_.flush(), "flush");
                break;
            case 1:
                make_snapshot();
                break;
            case 2:
                check_some_view();
                break;
            case 3:
                require(engine_.checkpoint(), "checkpoint");
                break;
            case 4:
                write_shared();
                break;
            case 5:
                change_to_zeros();
                break;
            case 6:
                require(engine_.points({.limit = 20}), "points");
                break;
            case 7:
            case 8:
            case 9:
            case 10:
                check_now(engine_);
                break;
            default:
                write();
        }
    }

    template <typename T>
    void require(const Result<T>& result, const char* what) {
        EXPECT_TRUE(result.ok()) << what << ": " << result.error().message;
    }

    void pick(uint64_t* first, uint64_t* count) {
        *count = random_.skewed(kPartSectors) + 1;
        *first = random_.below(kPartSectors - *count + 1);
    }

    void write() {
        uint64_t first, count;
        pick(&first, &count);
        sim::Value value = next_value();
        if (random_.chance(0.5)) {  // a page of which little changes
            const uint64_t part = number_ * kPartSectors;
            first = align_up(part + random_.below(kPartSectors - 2 * kSectorsPerBlock), kSectorsPerBlock) - part;
            count = kSectorsPerBlock;
            value |= sim::kSlimWrite;
        }
        const auto bytes = stamped(number_ * kPartSectors + first, count, value);
        const iovec whole{const_cast<uint8_t*>(bytes.data()), bytes.size()};
        require(engine_.write((number_ * kPartSectors + first) * kSectorSize, {&whole, 1}),
                "write");
        std::fill_n(now_.begin() + static_cast<int64_t>(first), count, value);
    }

    void change_to_zeros() {
        uint64_t first, count;
        pick(&first, &count);
        const uint64_t offset = (number_ * kPartSectors + first) * kSectorSize;
        require(random_.chance(0.5) ? engine_.write_zeroes(offset, count * kSectorSize)
                                    : engine_.discard(offset, count * kSectorSize),
                "zeroes");
        std::fill_n(now_.begin() + static_cast<int64_t>(first), count, sim::kZero);
    }

    // Whoever writes last wins; a sector must be one thread's whole write all the same.
    void write_shared() {
        const auto bytes = stamped(kShared, kSharedSectors, next_value());
        const iovec whole{const_cast<uint8_t*>(bytes.data()), bytes.size()};
        require(engine_.write(kShared * kSectorSize, {&whole, 1}), "write");
        std::vector<uint8_t> seen(bytes.size());
        const iovec into{seen.data(), seen.size()};
        require(engine_.read(kShared * kSectorSize, {&into, 1}), "read");
        for (uint64_t i = 0; i < kSharedSectors; ++i) {
            EXPECT_GE(sim::read_stamp(seen.data() + i * kSectorSize, kShared + i),
                      sim::kFirstWrite);
        }
    }

    void make_snapshot() {
        SnapshotInfo info;
        info.name = std::to_string(number_) + "-" + std::to_string(snapshots_.size());
        require(engine_.snapshot_create(info), "snapshot");
        snapshots_[info.name] = now_;
    }

    void check_some_view() {
        if (!snapshots_.empty()) {
            auto chosen = snapshots_.begin();
            std::advance(chosen, random_.below(snapshots_.size()));
            check_view(chosen->first, chosen->second);
        }
    }

    void check_view(const std::string& name, const Values& expected) {
        Moment moment;
        moment.snapshot = name;
        const auto view = engine_.open_view(moment);
        ASSERT_TRUE(view.ok()) << view.error().message;
        check(
            [&](std::vector<uint8_t>& bytes) {
                const iovec whole{bytes.data(), bytes.size()};
                return view.value()->read(number_ * kPartSectors * kSectorSize, {&whole, 1});
            },
            expected, name.c_str());
    }

    template <typename Read>
    void check(Read read, const Values& expected, const char* what) const {
        std::vector<uint8_t> bytes(kPartSectors * kSectorSize);
        const Result<void> result = read(bytes);
        ASSERT_TRUE(result.ok()) << what << ": " << result.error().message;
        for (uint64_t i = 0; i < kPartSectors; ++i) {
            const uint8_t* sector = bytes.data() + i * kSectorSize;
            ASSERT_EQ(sim::read_stamp(sector, number_ * kPartSectors + i), expected[i])
                << what << ", sector " << number_ * kPartSectors + i << " holds "
                << sim::describe_content(sector);
        }
    }

    sim::Value next_value() { return sim::kFirstWrite + number_ + kThreads * ++writes_; }

    Engine& engine_;
    const uint64_t number_;
    sim::Random random_;
    Values now_;
    std::map<std::string, Values> snapshots_;
    uint64_t writes_ = 0;
};

TEST_F(Stress, ThreadsSeeWhatTheyWroteNowAndInTheirSnapshots) {
    CreateOptions options;
    options.size = kDiskSectors * kSectorSize;
    options.segment_size = 256 << 10;
    ASSERT_TRUE(Engine::create(host, file, options).ok());
    open();
    std::vector<std::unique_ptr<Worker>> workers;
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < kThreads; ++i) {
        workers.push_back(std::make_unique<Worker>(*engine, i));
        threads.emplace_back([worker = workers.back().get()] { worker->run(); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u);
    close();
    open();
    for (const auto& worker : workers) {
        worker->check_now(*engine);
    }
    close();
    EXPECT_EQ(host.corruptions(), 0u);
}

}  // namespace
}  // namespace predsnap::test
