// SPDX-License-Identifier: GPL-2.0-or-later
#include "courier.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace predsnap::predict {

// The thread's, too: it may outlive the courier, in a call that does not return.
struct Courier::Shared {
    explicit Shared(Open open) : open(std::move(open)) {}
    const Open open;
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::pair<std::string, Errand>> errands;
    bool ended = false;

    void run();
};

void Courier::Shared::run() {
    std::unique_ptr<qmp::Monitor> monitor;
    std::unique_lock lock(mutex);
    while (!ended) {
        if (errands.empty()) {
            lock.unlock();
            monitor.reset();
            lock.lock();
            changed.wait(lock, [&] { return ended || !errands.empty(); });
            continue;
        }
        Errand errand = std::move(errands.front().second);
        errands.pop_front();
        lock.unlock();
        if (!monitor) {
            monitor = open();
        }
        errand(*monitor);
        errand = nullptr;
        lock.lock();
    }
}

Courier::Courier(Open open) : shared_(std::make_shared<Shared>(std::move(open))) {
    std::thread([shared = shared_] { shared->run(); }).detach();
}

Courier::~Courier() {
    std::deque<std::pair<std::string, Errand>> dropped;
    {
        const std::lock_guard lock(shared_->mutex);
        shared_->ended = true;
        dropped.swap(shared_->errands);
    }
    shared_->changed.notify_one();
}

void Courier::post(const std::string& slot, Errand errand) {
    const std::lock_guard lock(shared_->mutex);
    for (auto& [name, waiting] : shared_->errands) {
        if (name == slot) {
            waiting = std::move(errand);
            return;
        }
    }
    shared_->errands.emplace_back(slot, std::move(errand));
    shared_->changed.notify_one();
}

}  // namespace predsnap::predict
