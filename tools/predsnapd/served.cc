// SPDX-License-Identifier: GPL-2.0-or-later
#include "served.h"

#include <algorithm>
#include <cstdio>

#include "block/engine/text.h"

namespace predsnap::predict {
namespace {

// Between two of these others get their turn.
constexpr size_t kRecordsAtOnce = 200000;

std::string way_of(const DiskConfig& config, const Courier* courier) {
    return courier == nullptr ? "none" : config.qmp.empty() ? "libvirt" : "socket";
}

}  // namespace

Served::Served(DiskConfig config, std::shared_ptr<Courier> courier, std::shared_ptr<Board> board)
    : config_(config), disk_(std::move(config)), courier_(std::move(courier)), board_(std::move(board)) {
    introduce();
}

void Served::introduce() {
    board_->add(config_.name, config_.domain, config_.node, way_of(config_, courier_.get()));
    if (!courier_ && !config_.domain.empty()) {
        say("it is reached through libvirt's monitor of domain '" + config_.domain + "', but no libvirt is watched: set "
            "'libvirt' (which taints the domain), or give the disk a monitor socket. Nobody is told meanwhile");
    }
}

void Served::become(const DiskConfig& config, std::shared_ptr<Courier> courier) {
    config_ = config;
    courier_ = std::move(courier);
    introduce();
}

void Served::say(const std::string& message) const {
    std::fprintf(stderr, "predsnapd: %s: %s\n", config_.name.c_str(), message.c_str());
}

void Served::complain(const Result<void>& result) {
    const std::string message = result.ok() ? "" : result.error().message;
    if (!message.empty() && message != said_) {
        say(message);
    }
    said_ = message;
}

void Served::load_models(ModelStore& store) {
    std::vector<std::string> messages;
    disk_.load_models(store, messages);
    for (const std::string& message : messages) {
        say(message);
    }
}

void Served::borrow_models(ModelStore& store) {
    if (training_ || behind_) {
        return;
    }
    std::vector<std::string> messages;
    const Result<std::string> lender = disk_.borrow_models(store, messages);
    if (!lender.ok()) {
        messages.push_back(lender.error().message);
    } else if (!lender.value().empty()) {
        messages.push_back("tries the models of '" + lender.value() + "', which is most like it, until it has its own");
    }
    for (const std::string& message : messages) {
        say(message);
    }
}

Result<PredictionSet> Served::predict(const DaemonOptions& options, int64_t now_us) {
    TRY_ASSIGN(PredictionSet set, disk_.predict(now_us, options.horizon_us, options.ranges_max));
    if (options.json) {
        std::printf("%s\n", Json::take(to_arguments(set, config_.node, Form::list)).text().c_str());
        std::fflush(stdout);
    }
    return set;
}

Result<void> Served::follow(const DaemonOptions& options, int64_t now_us) {
    TRY_ASSIGN(behind_, disk_.catch_up(kRecordsAtOnce));
    if (behind_ || disk_.records() == 0) {
        return {};  // what is old is of no use to the driver
    }
    disk_.surround(now_us, read_pressure());
    TRY(disk_.advance(now_us));
    TRY_ASSIGN(const PredictionSet set, predict(options, now_us));
    if (!courier_ || options.dry_run) {
        return {};
    }
    if (!disk_.worth_telling(set, now_us)) {
        board_->put(config_.name, [](DiskReport& report) { ++report.spared; });
        return {};
    }
    disk_.note_told(set, now_us);
    tell_node(*courier_, board_, config_.name, config_.node, set);
    return {};
}

void Served::put_up(const Result<void>& log) {
    board_->put(config_.name, [&](DiskReport& report) {
        report.records = disk_.records();
        report.dropped = disk_.dropped();
        report.log_error = log.ok() ? "" : log.error().message;
    });
}

void Served::tick(const DaemonOptions& options, int64_t now_us) {
    Result<void> done;
    if (const DiskReport report = board_->find(config_.name); !training_ && (!report.tell_error.empty() || !report.answers)) {
        disk_.forget_told();  // it was not taken, or by a QEMU that may be another one by now
    }
    if (!training_ && !config_.log.empty()) {
        done = follow(options, now_us);
        put_up(done);
    }
    if (!courier_) {
        complain(done);
        return;
    }
    ask_node(*courier_, board_, config_.name, config_.node);
    // Answers to what was said before; what is wrong here comes first.
    const DiskReport report = board_->find(config_.name);
    const std::string& remote = report.tell_error.empty() ? report.error : report.tell_error;
    complain(!done.ok() || remote.empty() ? done : Result<void>(Error{EIO, remote}));
}

bool Served::wants_training(int64_t now_us) const {
    return !training_ && !behind_ && disk_.records() > 0 && now_us >= next_train_us_;
}

void Served::begin_training(const DaemonOptions& options, int64_t now_us) {
    training_ = true;
    training_begun_us_ = g_get_monotonic_time();
    next_train_us_ = now_us + options.train_every_us;
}

std::vector<Standing> Served::standings() const {
    const Forecaster& forecaster = disk_.forecaster();
    const auto& targets = forecaster.options().targets;
    std::vector<Standing> all;
    for (size_t i = 0; i < targets.size(); ++i) {
        const Contest& contest = forecaster.contest(i);
        all.push_back({.target = name_of(targets[i]),
                          .served = contest.standing(contest.champion()),
                          .baseline = contest.standing(contest.best_rule()),
                          .model_serves = contest.champion() >= kModelMethod});
    }
    return all;
}

void Served::report_training() const {
    const Forecaster& forecaster = disk_.forecaster();
    const auto& targets = forecaster.options().targets;
    std::string serving;
    for (size_t i = 0; i < targets.size(); ++i) {
        if (forecaster.model(i) != nullptr) {
            serving += " " + name_of(targets[i]) + ":" + std::string(method_name(forecaster.contest(i).champion()));
        }
    }
    say(text("trained in %.1f s on %zu rows of %llu requests; serving%s",
             static_cast<double>(g_get_monotonic_time() - training_begun_us_) * 1e-6, forecaster.samples().row_count(),
             static_cast<ull>(disk_.records()), serving.empty() ? " heuristics" : serving.c_str()));
}

void Served::end_training(ModelStore& store, const Result<void>& trained) {
    training_ = false;
    Result<void> done = trained;
    if (done.ok()) {
        report_training();
        board_->put(config_.name, [&](DiskReport& report) {
            ++report.trainings;
            report.trained_us = g_get_real_time();
            report.training_s = static_cast<double>(g_get_monotonic_time() - training_begun_us_) * 1e-6;
            report.standings = standings();
        });
        done = disk_.save_models(store);
    }
    complain(done);
}

}  // namespace predsnap::predict
