// SPDX-License-Identifier: GPL-2.0-or-later
//
// Prefetching: blocks that are said to be read soon, and that lie where reading takes long (in streams on the capacity image,
// or in the backing disk), are copied into the staging cache before anybody asks for them. What is wanted waits in a queue,
// the most relevant chunk first, and is read by a few tasks beside each other. All of it is bounded: the queue, what is read
// at once, and how much of the cache holds copies that nobody has used yet.
//
// Nothing of it can change what the disk holds: a copy says of what it is one (staging.h), and is only used for that.
// No lock and no pin is held across a request to the capacity image or the backing disk, so nobody waits for a slow one.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "core.h"
#include "disk_state.h"
#include "fetch_window.h"
#include "fine.h"
#include "reader.h"
#include "stream.h"
#include "wait.h"

namespace predsnap {

// Why a chunk is fetched.
enum class FetchCause : uint8_t { predicted, hinted, rollback, view };

class Prefetcher {
  public:
    static constexpr size_t kMaxQueued = 16 << 10;  // chunks: 1 GiB of the disk
    // Tasks, and chunks of each, at most. What they read at once is what a guest's own read waits for, where the rate is short:
    // there are fewer tasks then (FetchWindow).
    static constexpr size_t kMaxRunning = FetchWindow::kMost, kMaxChunks = 4;
    static constexpr uint64_t kMaxBytesAtOnce = 2 << 20;
    static_assert(kMaxRunning * kMaxChunks * kChunkBytes <= kMaxBytesAtOnce);
    static_assert(kMaxChunks <= FetchWindow::kSizes);
    static constexpr size_t kMaxViews = 8;

    struct Wish {
        uint64_t chunk;   // of the guest's disk, 64 KiB each
        float score;      // from 0 to 1, as in Forecast::relevance: what is below the threshold is not fetched
    };

    Prefetcher(Core& core, DiskState& disk, const History& history, const Capacity& capacity, FineWrites& fine,
               Reader& reader, StreamStore& streams)
        : core_(core), disk_(disk), history_(history), capacity_(capacity), fine_(fine), reader_(reader),
          streams_(streams) {}
    ~Prefetcher();
    Prefetcher(const Prefetcher&) = delete;

    // --- Require Core::mutex ---
    // Of the current state. A chunk that waits already takes the higher score; if the queue is full the least relevant
    // one is dropped. Does nothing if nothing lies where reading takes long.
    void want(FetchCause cause, std::span<const Wish> wishes);
    // Of the state that is frozen in the view, which is registered with DiskState and goes when all of it was fetched, or
    // was dropped. Wherever it lies, also in the image itself: so deltas are put together and frames unpacked ahead of time.
    // A copy of what the disk has now, or of another state, stays. Returns the view if it is not taken: there are too many,
    // or nothing is staged. (Engine::prefetch is this, for those who have a moment.)
    std::unique_ptr<FrozenState> want_of_view(std::unique_ptr<FrozenState> view, std::span<const Wish> wishes);
    // What waits for that reason is dropped; what is being read goes on.
    void forget(FetchCause cause);
    // The guest reads so much itself: chunks that it reads wholly need not be fetched any more.
    void passed(Sector from, uint64_t sectors);
    // Whether anything lies where reading takes long.
    bool useful() const;
    // Whether want_of_view() takes one.
    bool takes_views() const;
    // Goes on with what waits, unless it is paused.
    void start();
    // Tasks stop when they are done with their chunks. Nothing that waits is lost.
    void pause() { paused_ = true; }
    void resume() {
        paused_ = false;
        start();
    }
    // Whether a part of the range is being read, which the disk still has there; of those that began before `newest`.
    bool is_fetching(Sector from, uint64_t sectors, uint64_t newest = UINT64_MAX) const;
    // Until that was read. Not for what begins later.
    void wait(Lock& lock, Sector from, uint64_t sectors);
    void wait_idle(Lock& lock);
    // Whether there are copies, or some are on their way.
    bool active() const { return running_ > 0 || fine_.staging().count(Staged::prefetch) > 0; }
    PrefetchInfo info() const;

    // --- Without the lock ---
    // A request of the guest that may have to wait for a slow tier, as long as this lives.
    class GuestRead {
      public:
        explicit GuestRead(Prefetcher& prefetcher) : reads_(prefetcher.guest_reads_) {
            reads_.fetch_add(1, std::memory_order_relaxed);
        }
        ~GuestRead() { reads_.fetch_sub(1, std::memory_order_relaxed); }
        GuestRead(const GuestRead&) = delete;

      private:
        std::atomic<size_t>& reads_;
    };

  private:
    struct View {
        std::unique_ptr<FrozenState> state;
        size_t left = 0;  // of its chunks, those that wait or are being read
    };
    struct Item {
        uint64_t chunk;
        FetchCause cause;
        View* view;  // null: the current state
    };
    // The most relevant first; of equals, the first to come.
    struct Rank {
        float score;
        uint64_t order;
        bool operator<(const Rank& o) const { return score != o.score ? score > o.score : order < o.order; }
    };
    using Queue = std::map<Rank, Item>;
    struct Block {
        Sector start;
        Staging::Source source;
        Staging::Slot slot;
    };
    // Blocks that follow each other on the disk and where they lie.
    struct Piece {
        size_t first, count;
    };
    struct Fetch;

    bool stages() const;
    void add(FetchCause cause, const Wish& wish, View* view);
    Queue::iterator remove(Queue::iterator item);
    void drop_all();
    void done_with(View* view);
    bool room(size_t chunks = 1) const;
    size_t limit() const { return window_.limit(guest_reads_.load(std::memory_order_relaxed)); }
    bool goes_on() const { return !paused_ && running_ <= limit() && room(); }
    void work();
    Queue::iterator next_of(const Fetch& fetch);
    void take_chunks(Fetch& fetch);
    bool fetch_next(Lock& lock);
    void look_up(Fetch& fetch) const;
    bool is_slow(const Extent& extent) const;
    static size_t needless(const Fetch& fetch);
    static bool in_log(const Fetch& fetch, const Piece& piece);
    void note_time(const Fetch& fetch, const FetchWindow::Request& request);
    void take_slots(Fetch& fetch);
    Result<void> read(Fetch& fetch);
    Result<void> read_piece(const Fetch& fetch, const Piece& piece);
    void finish(Fetch& fetch, const Result<void>& result);
    bool still_wanted(const Fetch& fetch, const Block& block) const;

    std::atomic<size_t> guest_reads_ = 0;
    Core& core_;
    DiskState& disk_;
    const History& history_;
    const Capacity& capacity_;
    FineWrites& fine_;
    Reader& reader_;
    StreamStore& streams_;

    // Guarded by Core::mutex.
    Queue queue_;
    std::map<uint64_t, Rank> waiting_;  // chunks of the current state
    std::vector<std::unique_ptr<View>> views_;
    std::vector<std::unique_ptr<FrozenState>> done_views_;  // to be freed without the lock
    std::vector<const Fetch*> fetching_;
    WaitList fetched_;  // wait for one of them
    bool paused_ = false;
    size_t running_ = 0;
    FetchWindow window_;
    size_t slots_taken_ = 0;
    unsigned failures_ = 0;  // in a row
    uint64_t next_order_ = 0;
    PrefetchInfo stats_;
};

}  // namespace predsnap
