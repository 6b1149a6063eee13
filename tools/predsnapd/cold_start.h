// SPDX-License-Identifier: GPL-2.0-or-later
//
// A disk's models between runs, and at the very beginning: until it has learnt something itself, it tries those of the disk
// that is most like it. These serve when they have won on its own data, as any other (contest.h).
#pragma once

#include "forecaster.h"
#include "model_store.h"

namespace predsnap::predict {

// Keeps the models, what they are worth, and what the disk is like.
Result<void> keep_models(ModelStore& store, const std::string& disk, const Forecaster& forecaster);

// Whether it is time: no model yet, and two minutes of the disk were seen.
bool wants_models(const Forecaster& forecaster);
// Takes those models of the most similar other disk that were better than all rules there. The name of that disk; empty: there is
// none. What is damaged is set aside, with a message.
Result<std::string> borrow_models(ModelStore& store, const std::string& disk, Forecaster& forecaster,
                                  std::vector<std::string>& messages);

}  // namespace predsnap::predict
