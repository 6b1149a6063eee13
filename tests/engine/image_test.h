// SPDX-License-Identifier: GPL-2.0-or-later
//
// Base of the tests of a whole engine: a small image in memory, and a model that remembers what each
// sector was last stamped with. Background work is off unless a test resumes it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/engine/engine.h"
#include "block/engine/format.h"
#include "fiber_host.h"
#include "memory_device.h"

namespace predsnap::test {

// What each sector holds, by its stamp; 0: zeros.
using Stamps = std::vector<uint32_t>;

constexpr uint32_t kTestSegment = 64 << 10;
constexpr uint64_t kTestSectors = 2048;  // 1 MiB

// Content of a stamped sector: stamp and sector number, all through.
void fill_sector(uint8_t* to, uint32_t stamp, uint64_t sector);

class ImageTest : public ::testing::Test {
  protected:
    ImageTest();
    ~ImageTest() override;

    // An empty image of kTestSectors in segments of kTestSegment, open.
    void SetUp() override;

    void create(const CreateOptions& options);
    void open();
    Result<void> try_open(bool repair = false);
    // Ends the engine as a crash does; what was written stays, as if only the process had died.
    void kill();
    void kill_and_open();
    // The same with a loss of power.
    void lose_power_and_open();
    void close_and_open();

    // Writes new stamps and notes them in `now` if that succeeds.
    Result<void> write(uint64_t sector, uint64_t count);
    Result<void> zero(uint64_t sector, uint64_t count);
    void must_write(uint64_t sector, uint64_t count) { ASSERT_TRUE(write(sector, count).ok()); }
    void flush() { ASSERT_TRUE(engine->flush().ok()); }
    // Fills log segments until that many more are begun.
    void fill_segments(uint64_t count);
    Sequence sequence() const { return engine->info().sequence; }
    SnapshotInfo snapshot(const std::string& name);
    // Lets background work run until nothing is left to do.
    void work_in_background();
    // Fills segments with the same few sectors again and again, and lets the background follow.
    void churn(uint64_t segments);
    // What a crash may leave while that is done: at each of its writes and flushes what was flushed, and all that was written.
    std::vector<std::vector<uint8_t>> images_during(const std::function<void()>& work);
    // The image is that now, as after a crash.
    void open_image(const std::vector<uint8_t>& image);

    Stamps content();
    Stamps content(View& view);
    Stamps content_at(const Moment& moment);
    static Moment at(Sequence sequence);
    static Moment at(const std::string& snapshot);
    static Moment at(Time time);

    // The disk holds what `now` says, and the check finds no corruption.
    void expect_sound();
    // Data read from a sector on is what `now` says.
    void expect_stamps(uint64_t sector, const std::vector<uint8_t>& data) const;
    // A set of predictions from now on, for a minute.
    Result<void> predict(std::vector<Prediction> predictions);

    // Offset in the image of a byte of a segment.
    uint64_t image_offset(uint32_t segment, uint64_t offset) const {
        return format::kSuperblockArea + uint64_t{segment} * kTestSegment + offset;
    }
    void flip(uint64_t image_offset) { file.bytes.at(image_offset) ^= 0x10; }

    FiberHost host;
    MemoryDevice file;
    OpenOptions options;
    std::unique_ptr<Engine> engine;
    Stamps now;

  private:
    uint32_t last_stamp_ = 0;
};

// Only snapshots keep history.
class WithoutWindowTest : public ImageTest {
  protected:
    void SetUp() override {
        ImageTest::SetUp();
        ASSERT_TRUE(engine->set_retention({0, {}}).ok());
    }
};

}  // namespace predsnap::test
