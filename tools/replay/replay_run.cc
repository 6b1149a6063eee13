// SPDX-License-Identifier: GPL-2.0-or-later
#include "replay_run.h"

#include <ctime>
#include <set>

#include "arguments.h"
#include "engine_json.h"

namespace predsnap::replay {
namespace {

constexpr size_t kPointsVerified = 3;
constexpr int64_t kRestoredUs = 60'000'000;  // of the guest's use before a point, that is read when it is restored
constexpr uint64_t kChunk = DiskModel::kChunk;

std::string to_json(const DeviceReads& reads) {
    JsonObject object;
    object.add("requests", reads.requests).add("bytes", reads.bytes);
    return object.add("slow us", static_cast<int64_t>(reads.slow_seconds() * 1e6)).text();
}

}  // namespace

ReplayRun::ReplayRun(bench::BenchHost& host, const RunOptions& options, Teller* teller)
    : host_(host),
      options_(options),
      source_(must(Source::open(options.source))),
      model_(source_.placement().disk_size(), options.source.content),
      teller_(teller),
      file_(must(bench::FileDevice::open(host, options.image.c_str(), true))),
      device_(*file_) {}

RunResult ReplayRun::run() {
    RunResult result;
    host_.set_clock(EnginePlayer::kBegin);
    create();
    EnginePlayer player(host_, *engine_, source_, model_, options_.flush_every_us, options_.depth);
    player.count_reads(device_);
    const std::clock_t begin = std::clock();
    play(player);
    result.cpu_us = (std::clock() - begin) * 1'000'000 / CLOCKS_PER_SEC;
    result.before = stats_before_;
    result.at_end = state();
    result.fine = engine_->fine_info();
    result.staging_before = staging_before_;
    result.client = player.measures();
    result.read_blocks = player.read_blocks();
    result.written_blocks = player.written_blocks();
    result.guest_reads = {player.reads().requests, player.reads().bytes};
    result.slow_reads = player.slow_reads();
    result.staged_blocks = player.reads().staged_blocks;
    restore(result);
    rest();
    must(engine_->settle());
    host_.run_others();
    result.at_quiet = state();
    reopen();
    result.verified = verify_all();
    must(engine_->close());
    result.points = points_;
    result.peak = std::max(peak_, result.at_quiet.space);
    result.span_us = source_.placement().span_us();
    return result;
}

void ReplayRun::create() {
    CreateOptions create;
    create.size = source_.placement().disk_size();
    must(Engine::create(host_, device_, create));
    engine_ = must(Engine::open(host_, device_, options_.open));
    Retention retention;
    if (options_.window_s >= 0) {
        retention.window_us = static_cast<int64_t>(options_.window_s * 1e6);
    }
    retention.rules = options_.rules;
    if (options_.bytes > 0) {
        retention.bytes = options_.bytes;
    }
    must(engine_->set_retention(retention));
    if (options_.prefill) {
        prefill();
    }
    written_before_ = device_.written_bytes();
}

void ReplayRun::prefill() {
    std::set<uint64_t> wanted, known;  // blocks
    Source again = must(Source::open(options_.source));
    for (; again.peek(); must(again.advance())) {
        const Request& request = *again.peek();
        for (uint64_t block = request.offset / kBlockSize; block <= (request.offset + request.length - 1) / kBlockSize; ++block) {
            if (known.insert(block).second && !request.write) {
                wanted.insert(block);
            }
        }
    }
    AlignedBuffer data(kChunk);
    for (auto at = wanted.begin(); at != wanted.end();) {
        const uint64_t first = *at;
        uint64_t count = 0;
        while (at != wanted.end() && *at == first + count && count < kChunk / kBlockSize) {
            ++at;
            ++count;
        }
        const uint64_t offset = first * kBlockSize;
        const iovec vector{data.data(), std::min(count * kBlockSize, model_.disk_size() - offset)};
        model_.write(offset, {static_cast<uint8_t*>(vector.iov_base), vector.iov_len});
        must(engine_->write(offset, {&vector, 1}));
    }
    must(engine_->flush());
    host_.run_others();
    stats_before_ = engine_->stats();
    staging_before_ = engine_->fine_info().staging;
}

// What is verified is what the file holds.
void ReplayRun::reopen() {
    must(engine_->close());
    engine_.reset();
    engine_ = must(Engine::open(host_, device_, OpenOptions{}));
    const CheckResult result = must(engine_->check({}));
    if (result.corruptions > 0) {
        fail(Error{EIO, options_.image + ": " + result.findings.front()});
    }
}

void ReplayRun::play(EnginePlayer& player) {
    const int64_t span_us = source_.placement().span_us();
    const int64_t step_us = options_.points_us > 0 ? options_.points_us : span_us + 1;
    const auto count = static_cast<uint64_t>(span_us / step_us + 1);
    const uint64_t sampling = std::max<uint64_t>(count / kPointsVerified, 1);
    for (uint64_t i = 1; i <= count; ++i) {
        const int64_t until_us = static_cast<int64_t>(i) * step_us;
        must(play_until(player, until_us));
        if (options_.points_us > 0) {
            newest_point_us_ = until_us;
            point("p" + std::to_string(i), i % sampling == sampling / 2 && kept_.size() < kPointsVerified);
        }
        peak_ = std::max(peak_, must(file_->allocated()));
    }
}

// The guest does nothing; the clock goes on.
void ReplayRun::rest() {
    constexpr int64_t kStepUs = 10'000'000;
    const Time begin = host_.now();
    for (int64_t rested = kStepUs; rested <= options_.rest_us; rested += kStepUs) {
        host_.set_clock(begin + rested);
        engine_->tend();
        host_.run_others();
    }
}

Result<void> ReplayRun::play_until(EnginePlayer& player, int64_t until_us) {
    while (teller_ != nullptr && told_us_ + Teller::kTickUs <= until_us) {
        TRY(player.run(told_us_));
        TRY(teller_->tell(*engine_, told_us_));
        told_us_ += Teller::kTickUs;
    }
    return player.run(until_us);
}

void ReplayRun::point(const std::string& name, bool keep) {
    SnapshotInfo wanted;
    wanted.name = name;
    static_cast<void>(must(engine_->snapshot_create(wanted)));
    host_.run_others();
    ++points_;
    newest_point_ = name;
    if (keep) {
        kept_.emplace(name, model_);
    }
}

void ReplayRun::restore(RunResult& result) {
    if (newest_point_.empty()) {
        return;
    }
    std::set<uint64_t> chunks;
    Source again = must(Source::open(options_.source));
    for (; again.peek() && again.peek()->time_us < newest_point_us_; must(again.advance())) {
        const Request& request = *again.peek();
        if (request.time_us < std::min(newest_point_us_, source_.placement().span_us()) - kRestoredUs) {
            continue;
        }
        for (uint64_t chunk = request.offset / kChunk; chunk <= (request.offset + request.length - 1) / kChunk; ++chunk) {
            chunks.insert(chunk);
        }
    }
    Moment moment;
    moment.snapshot = newest_point_;
    const std::unique_ptr<View> view = must(engine_->open_view(moment));
    const DeviceReads before{device_.read_requests(), device_.read_bytes()};
    AlignedBuffer data(kChunk);
    for (const uint64_t chunk : chunks) {
        const uint64_t length = std::min(kChunk, model_.disk_size() - chunk * kChunk);
        const iovec vector{data.data(), length};
        must(view->read(chunk * kChunk, {&vector, 1}));
        result.restore_bytes += length;
    }
    result.restore = {device_.read_requests() - before.requests, device_.read_bytes() - before.bytes};
}

RunResult::State ReplayRun::state() const {
    return {must(file_->allocated()), device_.written_bytes() - written_before_, engine_->info(), engine_->stats()};
}

std::string ReplayRun::verify_all() {
    JsonObject verified;
    const auto add = [&](const char* name, const ReadDisk& read, const DiskModel& model) {
        verified.add(name, must(verify(read, model)));
    };
    add("now", [&](uint64_t offset, std::span<const iovec> to) { return engine_->read(offset, to); }, model_);
    for (const auto& [name, model] : kept_) {
        Moment moment;
        moment.snapshot = name;
        const std::unique_ptr<View> view = must(engine_->open_view(moment));
        add(name.c_str(), [&](uint64_t offset, std::span<const iovec> to) { return view->read(offset, to); }, model);
    }
    return verified.text();
}

std::string RunResult::State::json() const { return to_json(info, stats); }

std::string RunResult::json() const {
    JsonObject space, written, counters, reads, result;
    space.add("end", at_end.space).add("quiet", at_quiet.space).add("peak", peak);
    written.add("end", at_end.written).add("quiet", at_quiet.written);
    counters.add_raw("end", at_end.json()).add_raw("quiet", at_quiet.json());
    reads.add_raw("guest", to_json(guest_reads)).add_raw("restore", to_json(restore));
    reads.add("restore bytes", restore_bytes).add("read blocks", read_blocks).add("written blocks", written_blocks);
    reads.add("staged blocks", staged_blocks);
    result.add("points", points).add("cpu us", cpu_us).add("span us", span_us);
    result.add_raw("space", space.text()).add_raw("written", written.text());
    result.add_raw("staging", to_json(fine)).add_raw("reads", reads.text());
    result.add_raw("counters", counters.text()).add_raw("client", client.json());
    return result.add_raw("verified", verified).text();
}

}  // namespace predsnap::replay
