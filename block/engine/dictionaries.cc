// SPDX-License-Identifier: GPL-2.0-or-later
//
// The dictionary of a stream that is going to be written: what it is trained on, and how often. Reading a sample and
// trying the dictionary that paid last costs a few percent of writing the stream; training, as much as writing many
// megabytes, so that is done once in a while only. By the one background task; the computing on the host's executor.
#include <algorithm>

#include "engine_impl.h"
#include "stream.h"

namespace predsnap {

namespace {

using format::kFrameSectors;

// Of a stream's frames, one in so many is looked at: to try a dictionary, and to train one.
constexpr uint64_t kTriedPart = 16, kTrainedPart = 4;
constexpr uint64_t kLeastTried = 16, kMostTried = 64;
constexpr uint64_t kLeastTrained = 64, kMostTrained = 256;
// Of data between two trainings.
constexpr uint64_t kBetweenTrainings = 64 << 20;
constexpr size_t kReadsAtOnce = 8;

// The extents of frames that are spread evenly over the data.
class Picker {
  public:
    Picker(uint64_t stride, uint64_t most) : stride_(stride), most_(most) { begin_frame(); }

    bool take(const Extent& extent) {
        if (!extent.is_data()) {
            return true;
        }
        const uint64_t end = position_ + extent.count;
        while (at_ < end && picked_.size() <= most_) {
            const uint64_t length = std::min(end, frame_end_) - at_;
            const Sector from = extent.start + (at_ - position_);
            picked_.back().push_back(extent.slice(from, from + length));
            at_ += length;
            if (at_ == frame_end_) {
                at_ += stride_ - kFrameSectors;
                begin_frame();
            }
        }
        position_ = end;
        return picked_.size() <= most_;
    }
    // Whole frames only.
    std::vector<std::vector<Extent>> finish() {
        picked_.pop_back();
        return std::move(picked_);
    }

  private:
    void begin_frame() {
        frame_end_ = at_ + kFrameSectors;
        picked_.emplace_back();
    }

    const uint64_t stride_, most_;
    uint64_t position_ = 0;  // in the data, of the next extent
    uint64_t at_ = 0, frame_end_ = 0;
    std::vector<std::vector<Extent>> picked_;
};

}  // namespace

Result<std::vector<std::vector<uint8_t>>> Engine::Impl::sample(const ExtentMap& extents, uint64_t frames,
                                                               uint64_t most) {
    Picker picker(std::max<uint64_t>(frames / most, 1) * kFrameSectors, most);
    extents.for_each(Sector(0), [&](const Extent& extent) { return picker.take(extent); });
    const std::vector<std::vector<Extent>> picked = picker.finish();
    constexpr size_t kFrameBytes = kFrameSectors * kSectorSize;
    AlignedBuffer data(picked.size() * kFrameBytes);
    TaskGroup group(core.host, kReadsAtOnce);
    for (size_t i = 0; i < picked.size(); ++i) {
        uint8_t* to = data.data() + i * kFrameBytes;
        for (const Extent& extent : picked[i]) {
            group.run([this, &extent, to] { return reader.read_extent(extent, to); });
            to += extent.count * kSectorSize;
        }
    }
    TRY(group.wait());
    std::vector<std::vector<uint8_t>> sample(picked.size());
    for (size_t i = 0; i < picked.size(); ++i) {
        sample[i].assign(data.data() + i * kFrameBytes, data.data() + (i + 1) * kFrameBytes);
    }
    return sample;
}

// The dictionary for a stream of these extents, or null.
Result<std::shared_ptr<const Dictionary>> Engine::Impl::dictionary_for(const ExtentMap& extents) {
    const uint64_t sectors = extents.data_sectors();
    const uint64_t frames = sectors / kFrameSectors;
    int level;
    uint64_t least;
    bool train;
    std::shared_ptr<const Dictionary> last;
    {
        Lock lock(core.mutex);
        level = options.compression_level;
        least = options.dictionary_frames;
        last = last_dictionary;
        bytes_to_training -= std::min(bytes_to_training, sectors * kSectorSize);
        train = bytes_to_training == 0;
    }
    if (least == 0 || frames < least || (last == nullptr && !train)) {
        return std::shared_ptr<const Dictionary>();
    }
    const uint64_t most = train ? std::clamp(frames / kTrainedPart, kLeastTrained, kMostTrained)
                                : std::clamp(frames / kTriedPart, kLeastTried, kMostTried);
    TRY_ASSIGN(const auto sampled, sample(extents, frames, most));
    DictionaryChoice choice;
    core.host.run_on_executor([&] { choice = choose_dictionary(sampled, frames, level, last, train); });
    Lock lock(core.mutex);
    last_dictionary = choice.dictionary != nullptr ? choice.dictionary : last_dictionary;
    bytes_to_training = choice.trained ? kBetweenTrainings : bytes_to_training;
    core.stats.dictionaries_trained += choice.trained;
    core.stats.dictionaries_used += choice.dictionary != nullptr;
    core.stats.dictionary_savings += choice.expected_saving;
    return choice.dictionary;
}

}  // namespace predsnap
