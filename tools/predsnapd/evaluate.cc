// SPDX-License-Identifier: GPL-2.0-or-later
#include "evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "cold_start.h"
#include "disk_watch.h"
#include "tools/replay/trace.h"

namespace predsnap::predict {
namespace {

// Models of a long past change slowly: the time between trainings grows with it.
constexpr int64_t kTrainingsPerAge = 12;
constexpr size_t kCurvePoints = 200;

class Stopwatch {
  public:
    explicit Stopwatch(double& sum) : sum_(sum) {}
    ~Stopwatch() { sum_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

  private:
    double& sum_;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// What one method made of all moments that count.
struct Record {
    std::vector<Outcome> known, all;
    double moment_sum = 0;
    size_t moment_count = 0;
    std::array<double, kBudgets.size()> within{};

    void add(std::span<const float> scores, const Settled& settled);
};

void Record::add(std::span<const float> scores, const Settled& settled) {
    std::vector<Outcome> known;
    size_t came = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
        const Outcome outcome{scores[i], settled.came[i]};
        all.push_back(outcome);
        if (settled.forecast.seen[i]) {
            known.push_back(outcome);
            came += outcome.came ? 1 : 0;
        }
    }
    this->known.insert(this->known.end(), known.begin(), known.end());
    if (came == 0) {
        return;
    }
    std::sort(known.begin(), known.end(), [](const Outcome& a, const Outcome& b) { return a.score > b.score; });
    for (size_t budget = 0; budget < kBudgets.size(); ++budget) {
        within[budget] += came_within(known, kBudgets[budget]);
    }
    moment_sum += average_precision(std::move(known));
    ++moment_count;
}

// Takes what is settled, and sums it up in the end.
class Account {
  public:
    Account(const Target& target, const EvaluateOptions& options) : options_(options) { report_.target = target; }
    void add(const Settled& settled);
    TargetReport close();

  private:
    void forget();

    TargetReport report_;
    std::array<Record, kMeasured> records_;
    bool has_model_ = false;
    std::reference_wrapper<const EvaluateOptions> options_;
    HeatMapMaker map_;
    std::array<double, kBudgets.size()> oracle_within_{};
};

void Account::forget() {
    const Target target = report_.target;
    *this = Account(target, options_);
}

void Account::add(const Settled& settled) {
    const Forecast& forecast = settled.forecast;
    const bool has_model = !forecast.scores[kModelMethod].empty();
    if (options_.get().from_us >= 0) {
        if (forecast.time_us < options_.get().from_us) {
            return;
        }
    } else if (has_model && !has_model_) {
        forget();
        has_model_ = true;
    }
    ++report_.moments;
    ++report_.served[forecast.champion];
    report_.missed += settled.missed;
    size_t known = 0, came = 0;
    for (size_t i = 0; i < settled.came.size(); ++i) {
        known += forecast.seen[i] ? 1 : 0;
        came += forecast.seen[i] && settled.came[i] ? 1 : 0;
        report_.quality[kServed].calibration.add(forecast.served[i], settled.came[i]);
    }
    for (size_t budget = 0; budget < kBudgets.size(); ++budget) {
        oracle_within_[budget] += std::min(kBudgets[budget] * static_cast<double>(known), static_cast<double>(came));
    }
    for (size_t method = 0; method < kMethods; ++method) {
        records_[method].add(forecast.scores[method], settled);
    }
    records_[kServed].add(forecast.served, settled);
    if (options_.get().map) {
        map_.add(settled);
    }
}

TargetReport Account::close() {
    const std::vector<Outcome>& known = records_[0].known;
    const auto count = [](const std::vector<Outcome>& outcomes) {
        return static_cast<size_t>(
            std::count_if(outcomes.begin(), outcomes.end(), [](const Outcome& outcome) { return outcome.came; }));
    };
    const size_t known_came = count(known);
    report_.ranked = records_[0].all.size();
    report_.came = count(records_[0].all);
    report_.base_rate = known.empty() ? 0 : static_cast<double>(known_came) / static_cast<double>(known.size());
    const double came = std::max(1.0, static_cast<double>(known_came));
    report_.oracle_all = static_cast<double>(report_.came) /
                         std::max(1.0, static_cast<double>(report_.came + report_.missed));
    for (size_t budget = 0; budget < kBudgets.size(); ++budget) {
        report_.oracle_recall[budget] = oracle_within_[budget] / came;
    }
    for (size_t i = 0; i < kMeasured; ++i) {
        Record& record = records_[i];
        Quality& quality = report_.quality[i];
        quality.measured = !record.known.empty() && known_came > 0;
        if (!quality.measured) {
            continue;
        }
        for (size_t budget = 0; budget < kBudgets.size(); ++budget) {
            quality.recall[budget] = record.within[budget] / came;
        }
        quality.moment_precision = record.moment_sum / static_cast<double>(std::max<size_t>(record.moment_count, 1));
        quality.curve = precision_recall(record.known, 0, kCurvePoints);
        quality.average_precision = average_precision(std::move(record.known));
        quality.average_precision_all = average_precision(std::move(record.all), report_.missed);
    }
    report_.map = map_.make();
    return std::move(report_);
}

Access access_of(const replay::Request& request) {
    return {request.time_us, request.offset, request.length, request.write ? Op::kWrite : Op::kRead};
}

Forecaster::Options forecaster_options(const EvaluateOptions& options) {
    Forecaster::Options result = options.as_daemon ? disk_options() : Forecaster::Options();
    result.targets = options.targets;
    result.booster = options.booster;
    return result;
}

class Evaluation {
  public:
    Evaluation(const std::string& path, const EvaluateOptions& options);
    Result<TraceReport> run();

  private:
    Result<void> measure_span();
    Result<void> pass(int64_t until_us);
    Result<void> borrow();
    Result<void> keep() const;
    std::string name() const { return report_.path.substr(report_.path.rfind('/') + 1); }

    const EvaluateOptions options_;
    TraceReport report_;
    std::vector<Account> accounts_;
    Forecaster forecaster_;
    int64_t moment_every_us_;
    int64_t next_moment_us_ = 0;
    int64_t next_train_us_;
};

Evaluation::Evaluation(const std::string& path, const EvaluateOptions& options)
    : options_(options),
      forecaster_(forecaster_options(options),
                  [this](const Settled& settled) {
                      const auto& targets = options_.targets;
                      const auto found = std::find(targets.begin(), targets.end(), settled.forecast.target);
                      accounts_[static_cast<size_t>(found - targets.begin())].add(settled);
                  }),
      moment_every_us_(options.moment_every_us),
      next_train_us_(options.train_every_us) {
    report_.path = path;
    for (const Target& target : options.targets) {
        accounts_.emplace_back(target, options_);
    }
}

Result<void> Evaluation::measure_span() {
    TRY_ASSIGN(replay::TraceReader reader, replay::TraceReader::open(report_.path));
    int64_t last_us = 0;
    while (true) {
        TRY_ASSIGN(const std::optional<replay::Request> request, reader.next());
        if (!request) {
            break;
        }
        last_us = request->time_us;
        ++report_.requests;
    }
    report_.span_s = static_cast<double>(last_us) * 1e-6;
    const int64_t moments = std::max<int64_t>(static_cast<int64_t>(options_.moments_max), 1);
    const int64_t every = last_us / options_.moment_every_us / moments + 1;
    moment_every_us_ = options_.moment_every_us * every;
    next_moment_us_ = moment_every_us_;
    return {};
}

// All moments up to that time: everything before them was observed, nothing after.
Result<void> Evaluation::pass(int64_t until_us) {
    while (std::min(next_moment_us_, next_train_us_) < until_us) {
        const int64_t now_us = std::min(next_moment_us_, next_train_us_);
        {
            const Stopwatch watch(report_.observe_s);
            forecaster_.advance(now_us);
        }
        if (next_train_us_ <= next_moment_us_) {
            const Stopwatch watch(report_.train_s);
            TRY(forecaster_.train());
            ++report_.trainings;
            next_train_us_ += std::max(options_.train_every_us, now_us / kTrainingsPerAge);
            continue;
        }
        TRY(borrow());
        const Stopwatch watch(report_.score_s);
        forecaster_.forecast(now_us);
        next_moment_us_ += moment_every_us_;
    }
    return {};
}

Result<void> Evaluation::borrow() {
    if (options_.state.empty() || !report_.lender.empty() || !wants_models(forecaster_)) {
        return {};
    }
    TRY_ASSIGN(ModelStore store, ModelStore::open(options_.state));
    std::vector<std::string> messages;
    TRY_ASSIGN(report_.lender, borrow_models(store, name(), forecaster_, messages));
    return {};
}

Result<void> Evaluation::keep() const {
    if (options_.state.empty()) {
        return {};
    }
    TRY_ASSIGN(ModelStore store, ModelStore::open(options_.state));
    return keep_models(store, name(), forecaster_);
}

Result<TraceReport> Evaluation::run() {
    TRY(measure_span());
    TRY_ASSIGN(replay::TraceReader reader, replay::TraceReader::open(report_.path));
    while (true) {
        TRY_ASSIGN(const std::optional<replay::Request> request, reader.next());
        if (!request) {
            break;
        }
        TRY(pass(request->time_us));
        const Stopwatch watch(report_.observe_s);
        forecaster_.observe(access_of(*request));
    }
    forecaster_.advance(static_cast<int64_t>(report_.span_s * 1e6) + 1);
    report_.rows = forecaster_.samples().row_count();
    report_.memory_bytes = forecaster_.activity().memory_bytes();
    TRY(keep());
    for (Account& account : accounts_) {
        report_.targets.push_back(account.close());
    }
    return std::move(report_);
}

}  // namespace

std::string_view measured_name(size_t measured) { return measured == kServed ? "served" : method_name(measured); }

size_t TargetReport::best_heuristic() const {
    size_t best = 0;
    for (size_t i = 1; i < kHeuristics.size(); ++i) {
        best = quality[i].average_precision > quality[best].average_precision ? i : best;
    }
    return best;
}

double TargetReport::ratio(size_t measured) const {
    const double best = quality[best_heuristic()].average_precision;
    return best > 0 && quality[measured].measured ? quality[measured].average_precision / best : 0;
}

Result<TraceReport> evaluate(const std::string& path, const EvaluateOptions& options) {
    return Evaluation(path, options).run();
}

}  // namespace predsnap::predict
