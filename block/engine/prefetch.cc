// SPDX-License-Identifier: GPL-2.0-or-later
#include "prefetch.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "buffer.h"

namespace predsnap {

namespace {

// Copies that nobody has used yet take no more than that part of the cache: eighths.
constexpr uint64_t kUnusedEighths = 6;
// After so many failures in a row all that waits is dropped.
constexpr unsigned kMostFailures = 8;
constexpr size_t kBlocksPerChunk = kChunkSectors / kSectorsPerBlock;

}  // namespace

// Chunks that are being read, one behind the other.
struct Prefetcher::Fetch {
    uint64_t chunk = 0;  // the first
    View* view = nullptr;
    uint64_t number = 0;
    std::vector<float> scores;  // of each
    std::vector<Block> blocks;
    std::vector<Piece> pieces;
    std::vector<StreamInfo> streams;  // of pieces, if they lie in one
    std::unique_ptr<ReadPins::Pin> pin;  // while what lies in the log is read

    float score(const Block& block) const { return scores[block.start.value / kChunkSectors - chunk]; }
};

Prefetcher::~Prefetcher() = default;

bool Prefetcher::stages() const { return fine_.options().stage_reads && fine_.staging().limit() > 0; }

bool Prefetcher::takes_views() const { return stages() && views_.size() < kMaxViews; }

bool Prefetcher::useful() const {
    return stages() && (reader_.has_backing() || (capacity_.present() && history_.uses_capacity()));
}

// --- the queue ---

void Prefetcher::want(FetchCause cause, std::span<const Wish> wishes) {
    if (!useful()) {
        return;
    }
    for (const Wish& wish : wishes) {
        add(cause, wish, nullptr);
    }
    start();
}

std::unique_ptr<FrozenState> Prefetcher::want_of_view(std::unique_ptr<FrozenState> state, std::span<const Wish> wishes) {
    if (!takes_views()) {
        return state;
    }
    views_.push_back(std::make_unique<View>());
    View* const view = views_.back().get();
    view->state = std::move(state);
    view->left = 1;  // so that it stays while some are dropped
    for (const Wish& wish : wishes) {
        add(FetchCause::view, wish, view);
    }
    done_with(view);
    start();
    return nullptr;
}

void Prefetcher::add(FetchCause cause, const Wish& wish, View* view) {
    float score = wish.score;
    if (const auto known = view == nullptr ? waiting_.find(wish.chunk) : waiting_.end(); known != waiting_.end()) {
        score = std::max(score, known->second.score);
        const auto item = queue_.find(known->second);
        cause = score > wish.score ? item->second.cause : cause;
        remove(item);
    } else {
        ++stats_.wanted;
    }
    const Rank rank{score, next_order_++};
    queue_.emplace(rank, Item{wish.chunk, cause, view});
    if (view != nullptr) {
        ++view->left;
    } else {
        waiting_[wish.chunk] = rank;
    }
    if (queue_.size() > kMaxQueued) {
        remove(std::prev(queue_.end()));
        ++stats_.dropped;
    }
}

Prefetcher::Queue::iterator Prefetcher::remove(Queue::iterator item) {
    if (item->second.view != nullptr) {
        done_with(item->second.view);
    } else {
        waiting_.erase(item->second.chunk);
    }
    return queue_.erase(item);
}

void Prefetcher::done_with(View* view) {
    if (view == nullptr || --view->left > 0) {
        return;
    }
    disk_.remove_view(view->state.get());
    done_views_.push_back(std::move(view->state));
    std::erase_if(views_, [&](const auto& own) { return own.get() == view; });
}

void Prefetcher::forget(FetchCause cause) {
    for (auto item = queue_.begin(); item != queue_.end();) {
        if (item->second.cause == cause) {
            ++stats_.dropped;
            item = remove(item);
        } else {
            ++item;
        }
    }
}

void Prefetcher::drop_all() {
    stats_.dropped += queue_.size();
    while (!queue_.empty()) {
        remove(queue_.begin());
    }
}

void Prefetcher::passed(Sector from, uint64_t sectors) {
    const uint64_t end = (from + sectors).value / kChunkSectors;
    for (auto at = waiting_.lower_bound(align_up(from.value, kChunkSectors) / kChunkSectors);
         at != waiting_.end() && at->first < end;) {
        queue_.erase(at->second);
        at = waiting_.erase(at);
        ++stats_.dropped;
    }
}

// --- the tasks ---

// Whether there is room for copies that nobody has used yet.
bool Prefetcher::room(size_t chunks) const {
    const uint64_t most = fine_.staging().limit() / kBlockSize * kUnusedEighths / 8;
    return fine_.staging().unused(Staged::prefetch) + slots_taken_ + chunks * kBlocksPerChunk <= most;
}

void Prefetcher::start() {
    if (queue_.empty() || paused_) {
        return;
    }
    if (!views_.empty() && !room()) {
        forget(FetchCause::view);  // a view holds space back; what is wanted of the disk itself can wait
    }
    const size_t most = std::min(limit(), queue_.size());
    while (running_ < most && room()) {
        ++running_;
        core_.host.spawn([this] { work(); });
    }
}

void Prefetcher::work() {
    Lock lock(core_.mutex);
    while (goes_on() && fetch_next(lock)) {
        start();  // there may be more at once now
    }
    --running_;
    fetched_.wake_all(core_.host);
}

// The chunk behind those of the fetch, if it waits. In a view's queue it comes next, or later.
Prefetcher::Queue::iterator Prefetcher::next_of(const Fetch& fetch) {
    const uint64_t chunk = fetch.chunk + fetch.scores.size();
    if (fetch.view == nullptr) {
        const auto known = waiting_.find(chunk);
        return known == waiting_.end() ? queue_.end() : queue_.find(known->second);
    }
    const auto next = queue_.begin();
    return next != queue_.end() && next->second.view == fetch.view && next->second.chunk == chunk ? next : queue_.end();
}

// The most relevant chunk, and those behind it that wait, too: a slow tier counts requests more than bytes.
void Prefetcher::take_chunks(Fetch& fetch) {
    fetch.chunk = queue_.begin()->second.chunk;
    fetch.view = queue_.begin()->second.view;
    fetch.number = next_order_++;
    if (fetch.view != nullptr) {
        ++fetch.view->left;
    }
    auto next = queue_.begin();
    do {
        const Sector start(next->second.chunk * kChunkSectors);
        // What is said of the disk's future says nothing of its past.
        fetch.scores.push_back(fetch.view != nullptr ? next->first.score
                                                     : fine_.relevance(start, Staged::prefetch, next->first.score));
        remove(next);
        next = next_of(fetch);
    } while (next != queue_.end() && fetch.scores.size() < kMaxChunks && room(fetch.scores.size() + 1));
}

// Requires the lock; drops it while it reads. False if nothing waits.
bool Prefetcher::fetch_next(Lock& lock) {
    if (queue_.empty()) {
        return false;
    }
    Fetch fetch;
    take_chunks(fetch);
    look_up(fetch);
    stats_.needless += needless(fetch);
    take_slots(fetch);
    Result<void> result;
    if (!fetch.blocks.empty()) {
        fetching_.push_back(&fetch);
        fetch.pin.reset(fetch.view != nullptr ? new ReadPins::Pin(core_.readers.pin()) : nullptr);
        const FetchWindow::Request request = window_.begin(core_.host.uptime_us(), running_);
        lock.unlock();
        result = read(fetch);
        fetch.pin.reset();
        lock.lock();
        if (result.ok()) {
            note_time(fetch, request);
        }
        std::erase(fetching_, &fetch);
    }
    finish(fetch, result);
    done_with(fetch.view);
    std::vector<std::unique_ptr<FrozenState>> gone;
    gone.swap(done_views_);
    if (!gone.empty()) {
        lock.unlock();
        gone.clear();
        lock.lock();
    }
    return true;
}

bool Prefetcher::is_slow(const Extent& extent) const {
    if (!extent.is_data()) {
        return reader_.has_backing();
    }
    const StreamInfo* const stream = extent.in_stream() ? history_.stream_at(extent.place) : nullptr;
    return stream != nullptr && stream->on_capacity() && capacity_.present();
}

// Which blocks of the chunks are to be fetched, and where they lie: those that are in one piece.
void Prefetcher::look_up(Fetch& fetch) const {
    const FrozenState* const view = fetch.view != nullptr ? fetch.view->state.get() : nullptr;
    const uint64_t size = (view != nullptr ? view->size : disk_.size) / kSectorSize;
    const Sector begin(fetch.chunk * kChunkSectors);
    const Sector end(align_down(std::min(begin.value + fetch.scores.size() * kChunkSectors, size), kSectorsPerBlock));
    std::vector<Extent> extents;
    if (begin < end) {
        disk_.lookup(view, begin, end, SIZE_MAX, &extents);
    }
    auto next = extents.begin();
    for (Sector at = begin; at < end; at += kSectorsPerBlock) {
        const Sector block_end = at + kSectorsPerBlock;
        while (next != extents.end() && next->end() <= at) {
            ++next;
        }
        Extent extent;
        extent.start = at;
        extent.count = kSectorsPerBlock;
        if (next != extents.end() && next->start < block_end) {
            if (next->start > at || next->end() < block_end || next->kind == ExtentKind::zero) {
                continue;
            }
            extent = next->slice(at, block_end);
        }
        const bool wanted = is_slow(extent) || (view != nullptr && extent.is_data());
        const Staging::Source source = fine_.source_of(extent);
        const bool there = view != nullptr ? fine_.staging().contains(at) : fine_.staging().holds(at, source);
        if (wanted && !there) {
            fetch.blocks.push_back({at, source, {}});
        }
    }
}

// How many of the chunks there is nothing to be fetched of.
size_t Prefetcher::needless(const Fetch& fetch) {
    size_t needed = 0;
    uint64_t last = UINT64_MAX;
    for (const Block& block : fetch.blocks) {
        const uint64_t chunk = block.start.value / kChunkSectors;
        needed += chunk != std::exchange(last, chunk);
    }
    return fetch.scores.size() - needed;
}

// Blocks that are not relevant enough, or for which there is no room, are left out.
void Prefetcher::take_slots(Fetch& fetch) {
    const float threshold = fine_.threshold().value();
    stats_.refused += std::erase_if(fetch.blocks, [&](const Block& block) { return fetch.score(block) < threshold; });
    size_t taken = 0;
    for (Block& block : fetch.blocks) {
        const auto slot = fine_.staging().take(fetch.score(block), Staged::prefetch);
        if (!slot) {
            break;
        }
        block.slot = *slot;
        ++taken;
    }
    stats_.refused += fetch.blocks.size() - taken;
    fetch.blocks.resize(taken);
    slots_taken_ += taken;
    for (size_t i = 0; i < taken; ++i) {
        const Extent& extent = fetch.blocks[i].source.extent;
        const StreamInfo* const stream = extent.in_stream() ? history_.stream_at(extent.place) : nullptr;
        const Extent* const before = i > 0 ? &fetch.blocks[i - 1].source.extent : nullptr;
        const bool holes = before != nullptr && !extent.is_data() && !before->is_data();
        const bool in_order = before != nullptr && stream != nullptr && stream->holds(before->place) &&
                              before->place + before->count == extent.place;
        if (before != nullptr && before->end() == extent.start && (holes || in_order)) {
            ++fetch.pieces.back().count;
            continue;
        }
        fetch.pieces.push_back({i, 1});
        fetch.streams.push_back(stream != nullptr ? *stream : StreamInfo{});
    }
}

bool Prefetcher::in_log(const Fetch& fetch, const Piece& piece) {
    const Extent& extent = fetch.blocks[piece.first].source.extent;
    return extent.is_data() && !extent.in_stream();
}

// What is not all from a slow tier says nothing of it.
void Prefetcher::note_time(const Fetch& fetch, const FetchWindow::Request& request) {
    if (std::any_of(fetch.pieces.begin(), fetch.pieces.end(), [&](const Piece& piece) { return in_log(fetch, piece); })) {
        return;
    }
    const size_t parts = fetch.pieces.size();
    const size_t blocks = (fetch.blocks.size() + parts - 1) / parts;
    const auto tier = fetch.blocks.front().source.extent.is_data() ? FetchWindow::Tier::capacity : FetchWindow::Tier::backing;
    window_.answered(request, {tier, (blocks + kBlocksPerChunk - 1) / kBlocksPerChunk, parts}, core_.host.uptime_us());
}

// First what lies in the log: nobody waits long for that.
Result<void> Prefetcher::read(Fetch& fetch) {
    for (const Piece& piece : fetch.pieces) {
        if (in_log(fetch, piece)) {
            TRY(read_piece(fetch, piece));
        }
    }
    fetch.pin.reset();
    for (size_t i = 0; i < fetch.pieces.size(); ++i) {
        const Piece piece = fetch.pieces[i];
        const Extent& first = fetch.blocks[piece.first].source.extent;
        const StreamInfo& stream = fetch.streams[i];
        if (in_log(fetch, piece)) {
            continue;
        }
        if (!first.is_data()) {
            TRY(read_piece(fetch, piece));
            continue;
        }
        if (!stream.holds(first.place)) {
            return Error{ENOENT, "the stream is gone"};
        }
        // If its segments are given away meanwhile, what is read does not match its checksum.
        AlignedBuffer data(piece.count * kBlockSize);
        TRY(streams_.read_data(stream, first.place - stream.base, piece.count * kSectorsPerBlock, data.data()));
        for (size_t n = 0; n < piece.count; ++n) {
            std::memcpy(fine_.staging().content(fetch.blocks[piece.first + n].slot), data.data() + n * kBlockSize,
                        kBlockSize);
        }
    }
    return {};
}

// Of what lies below, or, of a view, in the image.
Result<void> Prefetcher::read_piece(const Fetch& fetch, const Piece& piece) {
    std::vector<iovec> contents;
    for (size_t n = 0; n < piece.count; ++n) {
        contents.push_back({fine_.staging().content(fetch.blocks[piece.first + n].slot), kBlockSize});
    }
    const Extent& first = fetch.blocks[piece.first].source.extent;
    if (!first.is_data()) {
        return reader_.read_hole(first.start, first.start + piece.count * kSectorsPerBlock, contents);
    }
    return reader_.read_found({&first, 1}, contents);
}

bool Prefetcher::still_wanted(const Fetch& fetch, const Block& block) const {
    return fetch.view != nullptr ? !fine_.staging().contains(block.start)
                                      : fine_.is_current(block.start, block.source);
}

void Prefetcher::finish(Fetch& fetch, const Result<void>& result) {
    for (const Block& block : fetch.blocks) {
        if (result.ok() && still_wanted(fetch, block)) {
            fine_.staging().put(block.slot, block.start, block.source, fetch.score(block), Staged::prefetch);
            ++stats_.fetched;
            stats_.bytes += kBlockSize;
        } else {
            fine_.staging().give_back(block.slot);
            stats_.late += result.ok();
        }
    }
    slots_taken_ -= fetch.blocks.size();
    stats_.failures += !result.ok();
    if (!fetch.blocks.empty()) {
        failures_ = result.ok() ? 0 : failures_ + 1;
        fetched_.wake_all(core_.host);
    }
    if (failures_ >= kMostFailures) {
        failures_ = 0;
        drop_all();
    }
}

// --- who waits ---

bool Prefetcher::is_fetching(Sector from, uint64_t sectors, uint64_t newest) const {
    return std::any_of(fetching_.begin(), fetching_.end(), [&](const Fetch* fetch) {
        return fetch->number < newest && fetch->view == nullptr &&
               std::any_of(fetch->blocks.begin(), fetch->blocks.end(), [&](const Block& block) {
                   return block.start < from + sectors && from < block.start + kSectorsPerBlock &&
                          still_wanted(*fetch, block);
               });
    });
}

void Prefetcher::wait(Lock& lock, Sector from, uint64_t sectors) {
    const uint64_t newest = next_order_;
    bool waited = false;
    while (is_fetching(from, sectors, newest)) {
        waited = true;
        fetched_.wait(core_.host, lock);
    }
    stats_.waits += waited;
}

void Prefetcher::wait_idle(Lock& lock) {
    while (running_ > 0) {
        fetched_.wait(core_.host, lock);
    }
}

PrefetchInfo Prefetcher::info() const {
    PrefetchInfo info = stats_;
    info.queued = queue_.size();
    info.running = running_;
    info.unused = fine_.staging().unused(Staged::prefetch);
    return info;
}

}  // namespace predsnap
