// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon.h"

#include <glib-unix.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "block/engine/text.h"
#include "drop_ins.h"
#include "exposition.h"
#include "libvirt_disks.h"
#include "metrics_server.h"
#include "node_talk.h"
#include "served.h"
#include "service.h"
#include "tools/qmp/client.h"

namespace predsnap::predict {
namespace {

constexpr int kNiceLowest = 19;
constexpr size_t kRecordsAtOnce = 200000;

void say(const std::string& message) { std::fprintf(stderr, "predsnapd: %s\n", message.c_str()); }

class Daemon {
  public:
    Daemon(const DaemonOptions& options, ReadOptions read_again)
        : options_(options), read_again_(std::move(read_again)) {}
    int run();

  private:
    struct Training {
        Daemon* daemon;
        std::shared_ptr<Served> served;
        Result<void> result;
    };
    Result<void> start();
    void start_drop_ins();
    void loop();
    int once();
    Result<void> once(Served& served);
    void reload();
    // What is named by whom; of a disk named twice the first counts.
    std::vector<DiskConfig> named() const;
    // Takes up what is named now, and gives up what no longer is.
    void gather();
    Courier::Open opener(const DiskConfig& config) const;
    std::shared_ptr<Courier> courier(const DiskConfig& config);
    void tick();
    void begin_training();
    void end_training(Training& training);
    std::string status() const;

    DaemonOptions options_;
    const ReadOptions read_again_;
    const std::shared_ptr<Board> board_ = std::make_shared<Board>();
    std::unique_ptr<ModelStore> store_;
    std::unique_ptr<DropIns> drop_ins_;
    std::unique_ptr<LibvirtDisks> libvirt_;
    std::unique_ptr<MetricsServer> metrics_;
    std::vector<std::shared_ptr<Served>> disks_;
    std::map<std::string, std::weak_ptr<Courier>> couriers_;  // by whom they go to: several disks may be there
    GMainLoop* main_loop_ = nullptr;
    GThread* trainer_ = nullptr;  // null: nobody trains
};

// --- who is served ---

Courier::Open Daemon::opener(const DiskConfig& config) const {
    if (!config.qmp.empty()) {
        return [path = config.qmp] { return std::make_unique<qmp::Client>(path); };
    }
    return config.domain.empty() || !libvirt_ ? nullptr : libvirt_->opener(config.domain);
}

std::shared_ptr<Courier> Daemon::courier(const DiskConfig& config) {
    Courier::Open open = opener(config);
    if (!open) {
        return nullptr;
    }
    std::weak_ptr<Courier>& known = couriers_[config.qmp.empty() ? "domain " + config.domain : config.qmp];
    std::shared_ptr<Courier> courier = known.lock();
    if (!courier) {
        courier = std::make_shared<Courier>(std::move(open));
        known = courier;
    }
    return courier;
}

std::vector<DiskConfig> Daemon::named() const {
    std::vector<DiskConfig> all = options_.disks;
    const auto add = [&](const std::vector<DiskConfig>& disks) {
        for (const DiskConfig& disk : disks) {
            const auto same = std::find_if(all.begin(), all.end(), [&](const DiskConfig& other) {
                return other.name == disk.name || (!disk.log.empty() && other.log == disk.log);
            });
            if (same == all.end()) {
                all.push_back(disk);
            } else if (same->node.empty()) {  // who named it first did not know how to reach it
                same->qmp = disk.qmp;
                same->domain = disk.domain;
                same->node = disk.node;
                same->weight = disk.weight;
            }
        }
    };
    if (drop_ins_) {
        add(drop_ins_->disks());
    }
    if (libvirt_) {
        add(libvirt_->state().disks);
    }
    return all;
}

void Daemon::gather() {
    std::vector<std::shared_ptr<Served>> next;
    for (const DiskConfig& config : named()) {
        const auto old = std::find_if(disks_.begin(), disks_.end(), [&](const std::shared_ptr<Served>& served) {
            return served && served->can_become(config);
        });
        if (old != disks_.end()) {
            if ((*old)->config() != config) {
                (*old)->become(config, courier(config));
            }
            next.push_back(std::move(*old));
            continue;
        }
        next.push_back(std::make_shared<Served>(config, courier(config), board_));
        next.back()->load_models(*store_);
        if (main_loop_ != nullptr) {
            next.back()->tick(options_, g_get_real_time());
        }
    }
    board_->keep([&](const std::string& name) {
        return std::any_of(next.begin(), next.end(), [&](const auto& served) { return served->config().name == name; });
    });
    disks_ = std::move(next);
    std::erase_if(couriers_, [](const auto& entry) { return entry.second.expired(); });
    const LibvirtState libvirt = libvirt_ ? libvirt_->state() : LibvirtState();
    board_->put_daemon([&](DaemonReport& report) {
        report.source_errors = (drop_ins_ ? drop_ins_->errors() : 0) + libvirt.errors.size();
        report.libvirt_asked = libvirt_ != nullptr;
        report.libvirt_connected = libvirt.connected;
    });
}

void Daemon::start_drop_ins() {
    drop_ins_.reset();
    if (!options_.drop_ins.empty()) {
        drop_ins_ = std::make_unique<DropIns>(options_.drop_ins, [this] {
            drop_ins_->read();
            gather();
        });
        drop_ins_->read();
    }
}

Result<void> Daemon::start() {
    TRY_ASSIGN(ModelStore store, ModelStore::open(options_.state));
    store_ = std::make_unique<ModelStore>(std::move(store));
    board_->put_daemon([](DaemonReport& report) { report.started_us = g_get_real_time(); });
    start_drop_ins();
    if (!options_.once && !options_.libvirt.empty()) {
        TRY_ASSIGN(libvirt_, LibvirtDisks::watch(options_.libvirt, [this] {
            for (const std::string& error : libvirt_->state().errors) {
                say(error);
            }
            gather();
        }));
    }
    if (!options_.once && !options_.metrics.empty()) {
        TRY_ASSIGN(metrics_, MetricsServer::start(options_.metrics, [board = board_] {
            return exposition(board->copy(), g_get_monotonic_time());
        }));
    }
    gather();
    return {};
}

void Daemon::reload() {
    service_reloading();
    Result<DaemonOptions> read = read_again_();
    board_->put_daemon([](DaemonReport& report) { ++report.reloads; });
    if (!read.ok()) {
        say("not reloaded: " + read.error().message);
    } else {
        DaemonOptions next = read.take();
        if (next.state != options_.state || next.metrics != options_.metrics || next.libvirt != options_.libvirt) {
            say("state, metrics and libvirt stay as they were: restart predsnapd to change them");
            next.state = options_.state;
            next.metrics = options_.metrics;
            next.libvirt = options_.libvirt;
        }
        const bool other_folder = next.drop_ins != options_.drop_ins;
        options_ = std::move(next);
        if (other_folder) {
            start_drop_ins();
        } else if (drop_ins_) {
            drop_ins_->read();
        }
        if (libvirt_) {
            libvirt_->look_again();
        }
        gather();
        say(text("reloaded: %zu disks", disks_.size()));
    }
    service_ready(status().c_str());
}

std::string Daemon::status() const { return text("%zu disks", disks_.size()); }

// --- once ---

Result<void> Daemon::once(Served& served) {
    DiskWatch& disk = served.disk();
    for (bool more = true; more;) {
        TRY_ASSIGN(more, disk.catch_up(kRecordsAtOnce));
        if (more) {
            served.say(text("%llu requests read", static_cast<ull>(disk.records())));
        }
    }
    served.begin_training(options_, 0);
    const Result<void> trained = disk.train();
    served.end_training(*store_, trained);
    TRY(trained);
    TRY_ASSIGN(const PredictionSet set, served.predict(options_, disk.forecaster().activity().now_us()));
    const Courier::Open open = opener(served.config());
    if (options_.dry_run || !open) {
        return {};
    }
    return tell(*open(), set, served.config().node);
}

int Daemon::once() {
    int status = 0;
    for (const auto& served : disks_) {
        const Result<void> done = once(*served);
        served->complain(done);
        status = done.ok() ? status : 1;
    }
    return status;
}

// --- the main loop ---

void Daemon::tick() {
    const int64_t now_us = g_get_real_time();
    for (const auto& served : disks_) {
        served->borrow_models(*store_);
        served->tick(options_, now_us);
    }
    board_->put_daemon([](DaemonReport& report) { report.ticked_us = g_get_monotonic_time(); });
    begin_training();
}

// Of those that are due, the one whose application is the most critical.
void Daemon::begin_training() {
    if (trainer_ != nullptr) {
        return;
    }
    const int64_t now_us = g_get_real_time();
    std::shared_ptr<Served> chosen;
    for (const auto& served : disks_) {
        if (served->wants_training(now_us) && (!chosen || served->config().weight > chosen->config().weight)) {
            chosen = served;
        }
    }
    if (!chosen) {
        return;
    }
    chosen->begin_training(options_, now_us);
    auto* training = new Training{this, chosen, {}};
    trainer_ = g_thread_new(
        "train",
        [](void* opaque) -> void* {
            auto* training = static_cast<Training*>(opaque);
            setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNiceLowest);
            training->result = training->served->disk().train();
            g_idle_add(
                [](void* done) -> gboolean {
                    const std::unique_ptr<Training> training(static_cast<Training*>(done));
                    training->daemon->end_training(*training);
                    return G_SOURCE_REMOVE;
                },
                training);
            return nullptr;
        },
        training);
}

void Daemon::end_training(Training& training) {
    g_thread_join(trainer_);
    trainer_ = nullptr;
    training.served->end_training(*store_, training.result);
    begin_training();  // others may wait
}

void Daemon::loop() {
    main_loop_ = g_main_loop_new(nullptr, FALSE);
    const auto quit = [](void* loop) -> gboolean {
        g_main_loop_quit(static_cast<GMainLoop*>(loop));
        return G_SOURCE_CONTINUE;
    };
    g_unix_signal_add(SIGTERM, quit, main_loop_);
    g_unix_signal_add(SIGINT, quit, main_loop_);
    g_unix_signal_add(SIGHUP, [](void* daemon) -> gboolean {
        static_cast<Daemon*>(daemon)->reload();
        return G_SOURCE_CONTINUE;
    }, this);
    // By seconds of its own, so that a reload can change the time between ticks.
    const auto again = [](void* opaque) -> gboolean {
        auto* daemon = static_cast<Daemon*>(opaque);
        const int64_t since_us = g_get_monotonic_time() - daemon->board_->copy_daemon().ticked_us;
        if (since_us >= daemon->options_.tick_us - kSecond / 2) {
            daemon->tick();
        }
        return G_SOURCE_CONTINUE;
    };
    g_timeout_add_seconds(1, again, this);
    service_watch();
    tick();
    service_ready(status().c_str());
    g_main_loop_run(main_loop_);
    service_stopping();
}

int Daemon::run() {
    const Result<void> started = start();
    if (!started.ok()) {
        say(started.error().message);
        return 1;
    }
    if (options_.once) {
        return once();
    }
    loop();
    // A training, or a call to a QEMU that does not answer, is not waited for: models are on disk as they were
    // saved last, whole. So nothing is taken down but what others see.
    metrics_.reset();
    std::fflush(nullptr);
    std::_Exit(0);
}

}  // namespace

int run_daemon(const DaemonOptions& options, ReadOptions read_again) {
    return Daemon(options, std::move(read_again)).run();
}

}  // namespace predsnap::predict
