// SPDX-License-Identifier: GPL-2.0-or-later
//
// A disk that the daemon serves: what it learns from (disk_watch.h), whom it tells (courier.h), what is known of
// it (board.h), and what was last said of what goes wrong. The daemon's thread, but for train().
#pragma once

#include <memory>
#include <string>

#include "config.h"
#include "node_talk.h"

namespace predsnap::predict {

class Served {
  public:
    // `courier`: null if nothing is told to anybody.
    Served(DiskConfig config, std::shared_ptr<Courier> courier, std::shared_ptr<Board> board);
    Served(const Served&) = delete;
    Served& operator=(const Served&) = delete;

    const DiskConfig& config() const { return config_; }
    DiskWatch& disk() { return disk_; }
    // Whether it can go on as that, with all that it has learnt.
    bool can_become(const DiskConfig& config) const { return config.name == config_.name && config.log == config_.log; }
    void become(const DiskConfig& config, std::shared_ptr<Courier> courier);

    void load_models(ModelStore& store);
    // Before a tick: where it has no model yet, that of a similar disk is tried.
    void borrow_models(ModelStore& store);
    // Reads what is new, tells what comes next, asks how the node is.
    void tick(const DaemonOptions& options, int64_t now_us);
    bool wants_training(int64_t now_us) const;

    // Between these two it is another thread's; ticks only ask how the node is.
    void begin_training(const DaemonOptions& options, int64_t now_us);
    void end_training(ModelStore& store, const Result<void>& trained);
    bool training() const { return training_; }

    // Prints it, if it was not the last that was printed. Success: what comes is printed again.
    void complain(const Result<void>& result);
    void say(const std::string& message) const;
    // What QEMU is to be told, printed if that is wished.
    Result<PredictionSet> predict(const DaemonOptions& options, int64_t now_us);

  private:
    void introduce();
    Result<void> follow(const DaemonOptions& options, int64_t now_us);
    void put_up(const Result<void>& log);
    void report_training() const;
    std::vector<Standing> standings() const;

    DiskConfig config_;
    DiskWatch disk_;
    std::shared_ptr<Courier> courier_;
    const std::shared_ptr<Board> board_;
    bool training_ = false;
    bool behind_ = true;           // more of its log is to be read
    int64_t next_train_us_ = 0;
    int64_t training_begun_us_ = 0;
    std::string said_;
};

}  // namespace predsnap::predict
