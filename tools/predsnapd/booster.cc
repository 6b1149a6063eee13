// SPDX-License-Identifier: GPL-2.0-or-later
#include "booster.h"

#include <xgboost/c_api.h>

#include <cassert>
#include <memory>

#include "block/engine/text.h"

namespace predsnap::predict {
namespace {

constexpr int kBins = 64;  // that the values of a column are put into

Result<void> done(int status, const char* what) {
    if (status == 0) {
        return {};
    }
    return Error{EIO, text("XGBoost cannot %s: %.300s", what, XGBGetLastError())};
}

struct FreeMatrix {
    void operator()(void* handle) const { XGDMatrixFree(handle); }
};
using Matrix = std::unique_ptr<void, FreeMatrix>;

// What a matrix is made of: all rows at once. XGBoost asks for them several times over.
struct Source {
    const Rows& rows;
    std::span<const float> labels, weights;
    DMatrixHandle proxy = nullptr;
    bool given = false;

    static void reset(DataIterHandle source) { static_cast<Source*>(source)->given = false; }
    static int next(DataIterHandle source) { return static_cast<Source*>(source)->give() ? 1 : 0; }

  private:
    bool give() {
        if (given) {
            return false;
        }
        given = true;
        const std::string array = text(R"({"data": [%llu, true], "shape": [%zu, %zu], "typestr": "<f4", "version": 3})",
                                       static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(rows.values.data())),
                                       rows.count(), rows.columns);
        return XGProxyDMatrixSetDataDense(proxy, array.c_str()) == 0 &&
               XGDMatrixSetFloatInfo(proxy, "label", labels.data(), labels.size()) == 0 &&
               XGDMatrixSetFloatInfo(proxy, "weight", weights.data(), weights.size()) == 0;
    }
};

// Of values there are only their bins in it, a byte each, which is all that trees are grown from: a matrix as XGBoost has
// it otherwise takes eight bytes a value, beside these.
Result<Matrix> matrix_of(const Rows& rows, std::span<const float> labels, std::span<const float> weights, int threads) {
    Source source{rows, labels, weights};
    TRY(done(XGProxyDMatrixCreate(&source.proxy), "take rows"));
    const Matrix proxy(source.proxy);
    const std::string config = text(R"({"missing": NaN, "max_bin": %d, "nthread": %d})", kBins, threads);
    DMatrixHandle handle = nullptr;
    TRY(done(XGQuantileDMatrixCreateFromCallback(&source, source.proxy, nullptr, Source::reset, Source::next,
                                                 config.c_str(), &handle),
             "take rows"));
    return Matrix(handle);
}

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
    return Trees::of_xgboost(std::string(bytes, length));
}

}  // namespace

Result<Trees> train_trees(Rows rows, std::span<const float> labels, std::span<const float> weights,
                          const BoosterOptions& options) {
    assert(labels.size() == rows.count() && weights.size() == rows.count());
    TRY_ASSIGN(Matrix matrix, matrix_of(rows, labels, weights, options.threads));
    rows.values = {};
    BoosterHandle handle = nullptr;
    DMatrixHandle matrices[] = {matrix.get()};
    TRY(done(XGBoosterCreate(matrices, 1, &handle), "make a model"));
    const std::unique_ptr<void, FreeBooster> booster(handle);
    TRY(set_all(handle, options));
    for (int round = 0; round < options.rounds; ++round) {
        TRY(done(XGBoosterUpdateOneIter(handle, round, matrix.get()), "train"));
    }
    matrix.reset();
    return trees_of(handle);
}

}  // namespace predsnap::predict
