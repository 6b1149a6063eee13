// SPDX-License-Identifier: GPL-2.0-or-later
#include "image_test.h"

namespace predsnap::test {
namespace {

class CheckTest : public ImageTest {
  protected:
    CheckResult check(bool verify_data = true) {
        CheckOptions how;
        how.verify_data = verify_data;
        auto result = engine->check(how);
        EXPECT_TRUE(result.ok());
        return result.ok() ? result.take() : CheckResult();
    }
    void write_much() {
        for (uint64_t i = 0; i < 100; ++i) {
            must_write(i * 131 % 1900, 1 + i % 30);
        }
        snapshot("a");
        ASSERT_TRUE(engine->rollback(at(Sequence(50))).ok());
        flush();
    }
    static bool mentions(const CheckResult& result, const std::string& text) {
        for (const std::string& finding : result.findings) {
            if (finding.find(text) != std::string::npos) {
                return true;
            }
        }
        return false;
    }
};

TEST_F(CheckTest, AnEmptyImageIsSound) { EXPECT_EQ(check().corruptions, 0u); }

TEST_F(CheckTest, AnImageInUseIsSound) {
    write_much();
    const CheckResult result = check();
    EXPECT_EQ(result.corruptions, 0u);
    EXPECT_GE(result.extents_checked, 100u);
}

TEST_F(CheckTest, AnImageWithBlobsAndACheckpointIsSound) {
    write_much();
    work_in_background();
    ASSERT_TRUE(engine->checkpoint().ok());
    EXPECT_EQ(check().corruptions, 0u);
    close_and_open();
    EXPECT_EQ(check().corruptions, 0u);
}

TEST_F(CheckTest, DamagedDataIsNamedByItsGuestOffset) {
    must_write(64, 8);
    flip(image_offset(0, 2 * kBlockSize + 10));
    const CheckResult result = check();
    EXPECT_EQ(result.corruptions, 1u);
    EXPECT_TRUE(mentions(result, "guest offset 32768")) << result.findings[0];
}

TEST_F(CheckTest, DataIsNotReadIfNotAsked) {
    must_write(64, 8);
    flip(image_offset(0, 2 * kBlockSize + 10));
    EXPECT_EQ(check(false).corruptions, 0u);
}

TEST_F(CheckTest, ADamagedBatchHeaderIsNamed) {
    must_write(0, 8);
    must_write(8, 8);
    flip(image_offset(0, 3 * kBlockSize + 10));
    const CheckResult result = check();
    EXPECT_EQ(result.corruptions, 1u);
    EXPECT_TRUE(mentions(result, "batch 2"));
}

TEST_F(CheckTest, ADamagedBlobIsNamed) {
    fill_segments(4);
    flush();
    work_in_background();
    flip(image_offset(1, kBlockSize + 100));
    const CheckResult result = check();
    EXPECT_EQ(result.corruptions, 1u);
    EXPECT_TRUE(mentions(result, "log segment 0"));
}

TEST_F(CheckTest, ADamagedSegmentHeaderIsNamed) {
    must_write(0, 8);
    flip(image_offset(0, 30));
    EXPECT_TRUE(mentions(check(), "header of log segment 0"));
}

TEST_F(CheckTest, ADamagedSuperblockSlotIsNamedAndMendedByTheNextOpening) {
    flip(100);
    EXPECT_TRUE(mentions(check(), "superblock slot 0"));
    kill_and_open();
    EXPECT_FALSE(mentions(check(), "superblock slot"));
}

TEST_F(CheckTest, ItCanBeStopped) {
    fill_segments(3);
    CheckOptions how;
    how.progress = [](double) { return false; };
    EXPECT_EQ(engine->check(how).error().code, ECANCELED);
}

TEST_F(CheckTest, ProgressGoesUp) {
    fill_segments(3);
    std::vector<double> seen;
    CheckOptions how;
    how.progress = [&](double done) {
        seen.push_back(done);
        return true;
    };
    ASSERT_TRUE(engine->check(how).ok());
    EXPECT_EQ(seen.size(), engine->info().segments_log);
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_F(CheckTest, AnErrorOfTheDeviceIsPassedOn) {
    must_write(0, 8);
    file.fail = [](const MemoryDevice::Call& call) {
        return call.op == MemoryDevice::Op::read && call.offset == 0 ? EIO : 0;
    };
    EXPECT_EQ(engine->check({}).error().code, EIO);
}

}  // namespace
}  // namespace predsnap::test
