// SPDX-License-Identifier: GPL-2.0-or-later
#include "image_test.h"

#include <algorithm>

namespace predsnap::test {

namespace {

constexpr size_t kAtOnce = 256;  // sectors

uint32_t stamp_of(const uint8_t* data, uint64_t sector) {
    uint32_t stamp;
    std::memcpy(&stamp, data, sizeof(stamp));
    uint8_t expected[kSectorSize] = {};
    if (stamp != 0) {
        fill_sector(expected, stamp, sector);
    }
    EXPECT_EQ(std::memcmp(data, expected, kSectorSize), 0) << "sector " << sector << " is misplaced or mixed";
    return stamp;
}

template <typename Source>
Stamps read_stamps(Source& source) {
    Stamps stamps;
    std::vector<uint8_t> data(kAtOnce * kSectorSize);
    const uint64_t sectors = source.size() / kSectorSize;
    while (stamps.size() < sectors) {
        const uint64_t first = stamps.size();
        const size_t count = std::min<uint64_t>(kAtOnce, sectors - first);
        const iovec buffer{data.data(), count * kSectorSize};
        const Result<void> read = source.read(first * kSectorSize, {&buffer, 1});
        EXPECT_TRUE(read.ok()) << read.error().message;
        if (!read.ok()) {
            return {};
        }
        for (size_t i = 0; i < count; ++i) {
            stamps.push_back(stamp_of(&data[i * kSectorSize], first + i));
        }
    }
    return stamps;
}

}  // namespace

void fill_sector(uint8_t* to, uint32_t stamp, uint64_t sector) {
    for (size_t i = 0; i < kSectorSize; i += 16) {
        std::memcpy(to + i, &stamp, 4);
        std::memcpy(to + i + 4, &i, 4);
        std::memcpy(to + i + 8, &sector, 8);
    }
}

ImageTest::ImageTest() {
    options.point_interval_us = 0;
    options.pool_min = options.pool_max = 0;
}

ImageTest::~ImageTest() {
    if (engine) {
        kill();
    }
}

void ImageTest::SetUp() {
    CreateOptions image;
    image.size = kTestSectors * kSectorSize;
    image.segment_size = kTestSegment;
    create(image);
    open();
}

void ImageTest::create(const CreateOptions& image) {
    file = MemoryDevice();
    ASSERT_TRUE(Engine::create(host, file, image).ok());
    now.assign(image.size / kSectorSize, 0);
}

Result<void> ImageTest::try_open(bool repair) {
    OpenOptions how = options;
    how.repair = repair;
    TRY_ASSIGN(engine, Engine::open(host, file, how));
    engine->pause_background();
    return {};
}

void ImageTest::open() {
    const Result<void> opened = try_open();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
}

void ImageTest::kill() {
    engine->pause_background();
    host.run_ready();
    engine.reset();
}

void ImageTest::kill_and_open() {
    kill();
    open();
}

void ImageTest::lose_power_and_open() {
    kill();
    file.lose_power();
    open();
}

void ImageTest::close_and_open() {
    const Result<void> closed = engine->close();
    ASSERT_TRUE(closed.ok()) << closed.error().message;
    engine.reset();
    open();
}

Result<void> ImageTest::write(uint64_t sector, uint64_t count) {
    const uint32_t stamp = ++last_stamp_;
    std::vector<uint8_t> data(count * kSectorSize);
    for (uint64_t i = 0; i < count; ++i) {
        fill_sector(&data[i * kSectorSize], stamp, sector + i);
    }
    const iovec buffer{data.data(), data.size()};
    TRY(engine->write(sector * kSectorSize, {&buffer, 1}));
    std::fill_n(now.begin() + static_cast<ptrdiff_t>(sector), count, stamp);
    return {};
}

Result<void> ImageTest::zero(uint64_t sector, uint64_t count) {
    TRY(engine->write_zeroes(sector * kSectorSize, count * kSectorSize));
    std::fill_n(now.begin() + static_cast<ptrdiff_t>(sector), count, 0);
    return {};
}

void ImageTest::fill_segments(uint64_t count) {
    const uint64_t wanted = engine->info().segments_log + count;
    for (uint64_t i = 0; engine->info().segments_log < wanted; ++i) {
        must_write(i * 40 % (kTestSectors - 40), 40);
        ASSERT_LT(i, 1000u);
    }
}

SnapshotInfo ImageTest::snapshot(const std::string& name) {
    SnapshotInfo info;
    info.name = name;
    Result<SnapshotInfo> made = engine->snapshot_create(info);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.ok() ? made.take() : info;
}

void ImageTest::work_in_background() {
    engine->resume_background();
    host.run_ready();
    engine->pause_background();
}

void ImageTest::churn(uint64_t segments) {
    for (uint64_t i = 0; i < segments; ++i) {
        fill_segments(1);
        flush();
        work_in_background();
    }
}

std::vector<std::vector<uint8_t>> ImageTest::images_during(const std::function<void()>& work) {
    std::vector<std::vector<uint8_t>> images;
    file.before = [&](const MemoryDevice::Call& call) {
        if (call.op != MemoryDevice::Op::read) {
            images.push_back(file.durable);
            images.push_back(file.bytes);
        }
    };
    work();
    file.before = nullptr;
    return images;
}

void ImageTest::open_image(const std::vector<uint8_t>& image) {
    kill();
    file.bytes = file.durable = image;
    open();
}

void ImageTest::expect_sound() {
    EXPECT_EQ(content(), now);
    const auto checked = engine->check({});
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(checked.value().corruptions, 0u)
        << (checked.value().findings.empty() ? "" : checked.value().findings.front());
}

void ImageTest::expect_stamps(uint64_t sector, const std::vector<uint8_t>& data) const {
    for (uint64_t i = 0; i < data.size() / kSectorSize; ++i) {
        uint8_t expected[kSectorSize] = {};
        if (now[sector + i] != 0) {
            fill_sector(expected, now[sector + i], sector + i);
        }
        ASSERT_EQ(std::memcmp(&data[i * kSectorSize], expected, kSectorSize), 0) << sector + i;
    }
}

Result<void> ImageTest::predict(std::vector<Prediction> predictions) {
    PredictionSet set;
    set.model = "test";
    set.base = sequence();
    set.horizon_us = 60'000'000;
    set.predictions = std::move(predictions);
    return engine->set_predictions(std::move(set));
}

Stamps ImageTest::content() { return read_stamps(*engine); }
Stamps ImageTest::content(View& view) { return read_stamps(view); }

Stamps ImageTest::content_at(const Moment& moment) {
    Result<std::unique_ptr<View>> view = engine->open_view(moment);
    EXPECT_TRUE(view.ok()) << view.error().message;
    return view.ok() ? content(*view.value()) : Stamps();
}

Moment ImageTest::at(Sequence sequence) {
    Moment moment;
    moment.sequence = sequence;
    return moment;
}

Moment ImageTest::at(const std::string& snapshot) {
    Moment moment;
    moment.snapshot = snapshot;
    return moment;
}

Moment ImageTest::at(Time time) {
    Moment moment;
    moment.time = time;
    return moment;
}

}  // namespace predsnap::test
