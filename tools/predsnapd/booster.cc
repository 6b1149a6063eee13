// SPDX-License-Identifier: GPL-2.0-or-later
#include "booster.h"

#include <xgboost/c_api.h>

#include <cassert>
#include <cmath>
#include <memory>

#include "block/engine/text.h"

namespace predsnap::predict {
namespace {

constexpr int kBins = 64;  // that the values of a column are put into
// What is not known, to XGBoost, is a value below all others: in a matrix with gaps each value would take four bytes and more in
// place of one.
constexpr float kBelowAll = -1e30f;

Result<void> done(int status, const char* what) {
    if (status == 0) {
        return {};
    }
    return Error{EIO, text("XGBoost cannot %s: %.300s", what, XGBGetLastError())};
}

// What XGBoost calls for the rows of a matrix: it goes over them several times.
struct Feed {
    const TrainingRows::Source& source;
    std::span<const float> weights;
    Rows rows;
    size_t at = 0;  // the first row that was not given yet
    DMatrixHandle proxy = nullptr;

    static void reset(DataIterHandle handle) {
        auto& feed = *static_cast<Feed*>(handle);
        feed.at = 0;
        feed.source.restart();
    }
    static int next(DataIterHandle handle) { return static_cast<Feed*>(handle)->give() ? 1 : 0; }

  private:
    bool give() {
        if (!source.next(rows)) {
            return false;
        }
        for (float& value : rows.values) {
            value = std::isnan(value) ? kBelowAll : value;
        }
        const std::span<const float> of_rows = weights.subspan(at, rows.count());
        at += rows.count();
        const std::string array = text(R"({"data": [%llu, true], "shape": [%zu, %zu], "typestr": "<f4", "version": 3})",
                                       static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(rows.values.data())),
                                       rows.count(), rows.columns);
        return XGProxyDMatrixSetDataDense(proxy, array.c_str()) == 0 &&
               XGDMatrixSetFloatInfo(proxy, "weight", of_rows.data(), of_rows.size()) == 0;
    }
};

Result<void> set(BoosterHandle booster, const char* name, const std::string& value) {
    return done(XGBoosterSetParam(booster, name, value.c_str()), name);
}

Result<void> set_all(BoosterHandle booster, const BoosterOptions& options) {
    TRY(set(booster, "objective", "binary:logistic"));
    TRY(set(booster, "tree_method", "hist"));
    TRY(set(booster, "max_bin", std::to_string(kBins)));
    TRY(set(booster, "verbosity", "0"));
    TRY(set(booster, "seed", "1"));
    TRY(set(booster, "nthread", std::to_string(options.threads)));
    TRY(set(booster, "max_depth", std::to_string(options.depth)));
    TRY(set(booster, "eta", std::to_string(options.rate)));
    TRY(set(booster, "subsample", std::to_string(options.rows)));
    TRY(set(booster, "colsample_bylevel", std::to_string(options.columns)));
    return set(booster, "min_child_weight", std::to_string(options.leaf_weight_min));
}

struct FreeBooster {
    void operator()(void* handle) const { XGBoosterFree(handle); }
};

Result<Trees> trees_of(BoosterHandle booster) {
    bst_ulong length = 0;
    const char* bytes = nullptr;
    TRY(done(XGBoosterSaveModelToBuffer(booster, R"({"format": "json"})", &length, &bytes), "save a model"));
    return Trees::of_xgboost(std::string(bytes, length), Trees::Unknown::kIsLowest);
}

}  // namespace

void TrainingRows::FreeMatrix::operator()(void* handle) const { XGDMatrixFree(handle); }

Result<TrainingRows> TrainingRows::create(const Source& source, size_t columns, std::span<const float> weights, int threads) {
    Feed feed{source, weights, {columns, {}}};
    TRY(done(XGProxyDMatrixCreate(&feed.proxy), "take rows"));
    const Matrix proxy(feed.proxy);
    const std::string config = text(R"({"missing": NaN, "max_bin": %d, "nthread": %d})", kBins, threads);
    DMatrixHandle handle = nullptr;
    TRY(done(XGQuantileDMatrixCreateFromCallback(&feed, feed.proxy, nullptr, Feed::reset, Feed::next, config.c_str(), &handle),
             "take rows"));
    return TrainingRows(Matrix(handle), weights.size());
}

Result<Trees> TrainingRows::train(std::span<const float> labels, std::span<const float> weights,
                                  const BoosterOptions& options) const {
    assert(labels.size() == count_ && weights.size() == count_);
    TRY(done(XGDMatrixSetFloatInfo(matrix_.get(), "label", labels.data(), labels.size()), "take labels"));
    TRY(done(XGDMatrixSetFloatInfo(matrix_.get(), "weight", weights.data(), weights.size()), "take weights"));
    BoosterHandle handle = nullptr;
    const DMatrixHandle matrices[] = {matrix_.get()};
    TRY(done(XGBoosterCreate(matrices, 1, &handle), "make a model"));
    const std::unique_ptr<void, FreeBooster> booster(handle);
    TRY(set_all(handle, options));
    for (int round = 0; round < options.rounds; ++round) {
        TRY(done(XGBoosterUpdateOneIter(handle, round, matrix_.get()), "train"));
    }
    return trees_of(handle);
}

Result<Trees> train_trees(const Rows& rows, std::span<const float> labels, std::span<const float> weights,
                          const BoosterOptions& options) {
    assert(labels.size() == rows.count() && weights.size() == rows.count());
    bool given = false;
    const TrainingRows::Source source{[&] { given = false; },
                                      [&](Rows& some) {
                                          if (given) {
                                              return false;
                                          }
                                          some.values = rows.values;
                                          return given = true;
                                      }};
    TRY_ASSIGN(const TrainingRows matrix, TrainingRows::create(source, rows.columns, weights, options.threads));
    return matrix.train(labels, weights, options);
}

}  // namespace predsnap::predict
