// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon.h"

#include <glib-unix.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

namespace predsnap::predict {
namespace {

// Between two of these others get their turn.
constexpr size_t kRecordsAtOnce = 200000;
constexpr int kNiceLowest = 19;

[[gnu::format(printf, 2, 3)]] void say(const DiskWatch& disk, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::fprintf(stderr, "predsnapd: %s: ", disk.config().name.c_str());
    std::vfprintf(stderr, format, arguments);
    std::fputc('\n', stderr);
    va_end(arguments);
}

struct Served {
    explicit Served(DiskConfig config) : disk(std::move(config)) {}
    DiskWatch disk;
    bool training = false;  // the other thread has it
    bool behind = false;    // more of its log is to be read
    int64_t next_train_us = 0;
    std::string said;       // the last message of what went wrong: not said again and again
};

class Daemon {
  public:
    explicit Daemon(const DaemonOptions& options) : options_(options) {}
    int run();

  private:
    struct Training {
        Daemon* daemon;
        Served* served;
        Result<void> result;
        int64_t begun_us;
    };
    Result<void> start();
    void loop();
    int once();
    Result<void> tell(Served& served, int64_t now_us);
    void complain(Served& served, const Result<void>& result) const;
    void tick();
    void tick(Served& served, int64_t now_us);
    void begin_training(Served& served);
    void end_training(Training& training);
    void report_training(const Served& served, int64_t begun_us) const;

    const DaemonOptions options_;
    std::unique_ptr<ModelStore> store_;
    std::vector<std::unique_ptr<Served>> disks_;
    GMainLoop* main_loop_ = nullptr;
    GThread* trainer_ = nullptr;  // null: nobody trains
};

Result<void> Daemon::start() {
    TRY_ASSIGN(ModelStore store, ModelStore::open(options_.state));
    store_ = std::make_unique<ModelStore>(std::move(store));
    for (const DiskConfig& config : options_.disks) {
        auto served = std::make_unique<Served>(config);
        std::vector<std::string> messages;
        served->disk.load_models(*store_, messages);
        for (const std::string& message : messages) {
            say(served->disk, "%s", message.c_str());
        }
        disks_.push_back(std::move(served));
    }
    return {};
}

void Daemon::complain(Served& served, const Result<void>& result) const {
    const std::string message = result.ok() ? "" : result.error().message;
    if (!message.empty() && message != served.said) {
        say(served.disk, "%s", message.c_str());
    }
    served.said = message;
}

Result<void> Daemon::tell(Served& served, int64_t now_us) {
    TRY_ASSIGN(const PredictionSet set,
               served.disk.predict(now_us, options_.horizon_us, options_.ranges_max));
    if (options_.json) {
        JsonNode* node = to_arguments(set, served.disk.config().node);
        char* line = json_to_string(node, FALSE);
        std::printf("%s\n", line);
        std::fflush(stdout);
        g_free(line);
        json_node_unref(node);
    }
    return options_.dry_run || served.disk.config().qmp.empty() ? Result<void>() : served.disk.send(set, now_us);
}

// --- once ---

int Daemon::once() {
    int status = 0;
    for (const auto& served : disks_) {
        DiskWatch& disk = served->disk;
        Result<void> done;
        int64_t begun_us = 0;
        while (done.ok()) {
            const Result<bool> more = disk.catch_up(kRecordsAtOnce);
            done = more.discard();
            if (!more.ok() || !more.value()) {
                break;
            }
            say(disk, "%llu requests read", static_cast<unsigned long long>(disk.records()));
        }
        if (done.ok()) {
            begun_us = g_get_monotonic_time();
            done = disk.train();
        }
        if (done.ok()) {
            report_training(*served, begun_us);
            done = disk.save_models(*store_);
        }
        if (done.ok()) {
            done = tell(*served, disk.forecaster().activity().now_us());
        }
        complain(*served, done);
        status = done.ok() ? status : 1;
    }
    return status;
}

// --- the main loop ---

void Daemon::tick(Served& served, int64_t now_us) {
    const Result<bool> more = served.disk.catch_up(kRecordsAtOnce);
    if (!more.ok()) {
        complain(served, more.discard());
        return;
    }
    served.behind = more.value();
    if (served.behind || served.disk.records() == 0) {
        return;  // what is old is of no use to the driver
    }
    Result<void> done = served.disk.advance(now_us);
    if (done.ok()) {
        done = tell(served, now_us);
    }
    complain(served, done);
    if (now_us >= served.next_train_us && trainer_ == nullptr) {
        served.next_train_us = now_us + options_.train_every_us;
        begin_training(served);
    }
}

void Daemon::tick() {
    const int64_t now_us = g_get_real_time();
    for (const auto& served : disks_) {
        if (!served->training) {
            tick(*served, now_us);
        }
    }
}

void Daemon::begin_training(Served& served) {
    served.training = true;
    auto* training = new Training{this, &served, {}, g_get_monotonic_time()};
    trainer_ = g_thread_new(
        "train",
        [](void* opaque) -> void* {
            auto* training = static_cast<Training*>(opaque);
            setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNiceLowest);
            training->result = training->served->disk.train();
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
    Served& served = *training.served;
    served.training = false;
    Result<void> done = training.result;
    if (done.ok()) {
        report_training(served, training.begun_us);
        done = served.disk.save_models(*store_);
    }
    complain(served, done);
}

void Daemon::report_training(const Served& served, int64_t begun_us) const {
    const Forecaster& forecaster = served.disk.forecaster();
    const auto& targets = forecaster.options().targets;
    std::string standings;
    for (size_t i = 0; i < targets.size(); ++i) {
        if (forecaster.model(i) != nullptr) {
            standings += " " + name_of(targets[i]) + ":" +
                         std::string(method_name(forecaster.contest(i).champion()));
        }
    }
    say(served.disk, "trained in %.1f s on %zu rows of %llu requests; serving%s",
        static_cast<double>(g_get_monotonic_time() - begun_us) * 1e-6, forecaster.samples().row_count(),
        static_cast<unsigned long long>(served.disk.records()), standings.empty() ? " heuristics" : standings.c_str());
}

void Daemon::loop() {
    main_loop_ = g_main_loop_new(nullptr, FALSE);
    const auto quit = [](void* loop) -> gboolean {
        g_main_loop_quit(static_cast<GMainLoop*>(loop));
        return G_SOURCE_CONTINUE;
    };
    g_unix_signal_add(SIGTERM, quit, main_loop_);
    g_unix_signal_add(SIGINT, quit, main_loop_);
    g_timeout_add(static_cast<guint>(options_.tick_us / 1000),
                  [](void* daemon) -> gboolean {
                      static_cast<Daemon*>(daemon)->tick();
                      return G_SOURCE_CONTINUE;
                  },
                  this);
    tick();
    g_main_loop_run(main_loop_);
    if (trainer_ != nullptr) {
        g_thread_join(trainer_);  // its models are not kept
    }
    g_main_loop_unref(main_loop_);
}

int Daemon::run() {
    const Result<void> started = start();
    if (!started.ok()) {
        std::fprintf(stderr, "predsnapd: %s\n", started.error().message.c_str());
        return 1;
    }
    if (options_.once) {
        return once();
    }
    loop();
    return 0;
}

}  // namespace

int run_daemon(const DaemonOptions& options) { return Daemon(options).run(); }

}  // namespace predsnap::predict
