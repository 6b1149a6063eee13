// SPDX-License-Identifier: GPL-2.0-or-later
#include "booster.h"

#include <xgboost/c_api.h>

#include <cassert>

#include "block/engine/text.h"

namespace predsnap::predict {
namespace {

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

Result<Matrix> matrix_of(const Rows& rows) {
    DMatrixHandle handle = nullptr;
    TRY(done(XGDMatrixCreateFromMat(rows.values.data(), rows.count(), rows.columns, __builtin_nanf(""), &handle),
             "take rows"));
    return Matrix(handle);
}

Result<void> set(BoosterHandle booster, const char* name, const std::string& value) {
    return done(XGBoosterSetParam(booster, name, value.c_str()), name);
}

Result<void> set_all(BoosterHandle booster, const BoosterOptions& options) {
    TRY(set(booster, "objective", options.objective));
    TRY(set(booster, "tree_method", "hist"));
    TRY(set(booster, "max_bin", "64"));
    TRY(set(booster, "verbosity", "0"));
    TRY(set(booster, "seed", "1"));
    TRY(set(booster, "nthread", std::to_string(options.threads)));
    TRY(set(booster, "max_depth", std::to_string(options.depth)));
    TRY(set(booster, "eta", std::to_string(options.rate)));
    TRY(set(booster, "subsample", std::to_string(options.rows)));
    TRY(set(booster, "colsample_bylevel", std::to_string(options.columns)));
    return set(booster, "min_child_weight", std::to_string(options.leaf_weight_min));
}

}  // namespace

void Booster::Free::operator()(void* handle) const { XGBoosterFree(handle); }

Result<Booster> Booster::train(const Rows& rows, std::span<const float> labels, std::span<const float> weights,
                               const BoosterOptions& options) {
    assert(labels.size() == rows.count() && weights.size() == rows.count());
    TRY_ASSIGN(const Matrix matrix, matrix_of(rows));
    TRY(done(XGDMatrixSetFloatInfo(matrix.get(), "label", labels.data(), labels.size()), "take labels"));
    TRY(done(XGDMatrixSetFloatInfo(matrix.get(), "weight", weights.data(), weights.size()), "take weights"));
    BoosterHandle handle = nullptr;
    DMatrixHandle matrices[] = {matrix.get()};
    TRY(done(XGBoosterCreate(matrices, 1, &handle), "make a model"));
    Booster booster(handle);
    TRY(set_all(handle, options));
    for (int round = 0; round < options.rounds; ++round) {
        TRY(done(XGBoosterUpdateOneIter(handle, round, matrix.get()), "train"));
    }
    return booster;
}

Result<Booster> Booster::load(std::span<const char> model) {
    BoosterHandle handle = nullptr;
    TRY(done(XGBoosterCreate(nullptr, 0, &handle), "make a model"));
    Booster booster(handle);
    TRY(set(handle, "verbosity", "0"));
    TRY(set(handle, "nthread", "1"));
    TRY(done(XGBoosterLoadModelFromBuffer(handle, model.data(), model.size()), "load a model"));
    return booster;
}

Result<std::string> Booster::save() const {
    bst_ulong length = 0;
    const char* bytes = nullptr;
    TRY(done(XGBoosterSaveModelToBuffer(handle_.get(), R"({"format": "ubj"})", &length, &bytes), "save a model"));
    return std::string(bytes, length);
}

Result<std::vector<float>> Booster::predict(const Rows& rows) const {
    if (rows.count() == 0) {
        return std::vector<float>();
    }
    const std::string array =
        text(R"({"data": [%llu, true], "shape": [%zu, %zu], "typestr": "<f4", "version": 3})",
             static_cast<ull>(reinterpret_cast<uintptr_t>(rows.values.data())), rows.count(), rows.columns);
    static constexpr char kConfig[] =
        R"({"type": 0, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false,)"
        R"( "missing": NaN, "cache_id": 0})";
    const bst_ulong* shape = nullptr;
    bst_ulong dimensions = 0;
    const float* values = nullptr;
    TRY(done(XGBoosterPredictFromDense(handle_.get(), array.c_str(), kConfig, nullptr, &shape, &dimensions, &values),
             "predict"));
    return std::vector<float>(values, values + rows.count());
}

}  // namespace predsnap::predict
