// SPDX-License-Identifier: GPL-2.0-or-later
//
// Models on disk, in the state folder: one file for each disk and target, written whole or not at all,
// with version and checksum; and predsnapd.sqlite beside them, which says what each is worth. A file that
// is damaged is set aside, with the suffix ".corrupt". One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "heuristics.h"
#include "profile.h"
#include "trees.h"

struct sqlite3;

namespace predsnap::predict {

struct ModelFacts {
    int64_t trained_us = 0;  // time of the newest request it learnt from
    uint64_t version = 0;    // counts the trainings of this disk and target; given by the store
    double standing = -1;    // average precision on the newest moments; below 0: not judged
    double best_other = -1;  // that of the best heuristic on the same
    bool serves = false;
};

class ModelStore {
  public:
    // Makes the folder if there is none.
    static Result<ModelStore> open(const std::string& folder);

    // Durable when it returns.
    Result<void> save(const std::string& disk, const Target& target, const Trees& model, ModelFacts facts);
    struct Loaded {
        Trees model;
        ModelFacts facts;
    };
    // Nothing if there is none, or none that this program can use; `message` says why, if it was damaged.
    Result<std::optional<Loaded>> load(const std::string& disk, const Target& target, std::string& message);

    // What the disk is like, as it was when that was saved last.
    Result<void> save_profile(const std::string& disk, const Profile& profile);
    // The other disk that is most like this, of those with a model that won there; empty: none.
    Result<std::string> most_similar(const std::string& disk, const Profile& profile) const;

    std::string path_of(const std::string& disk, const Target& target) const;

  private:
    struct Close {
        void operator()(sqlite3* database) const;
    };
    ModelStore(std::string folder, sqlite3* database) : folder_(std::move(folder)), database_(database) {}
    Result<void> run(const char* sql) const;
    Error failed(const char* what) const;
    Result<ModelFacts> facts_of(const std::string& disk, const Target& target) const;

    std::string folder_;
    std::unique_ptr<sqlite3, Close> database_;
};

// "write-60"
std::string name_of(const Target& target);

}  // namespace predsnap::predict
