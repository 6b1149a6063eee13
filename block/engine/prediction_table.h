// SPDX-License-Identifier: GPL-2.0-or-later
//
// Predictions as few bytes, in place of as many objects of JSON: what predsnap-set-predictions takes as `packed` (base64).
//
//     byte 0          1: the version of what follows
//     then, for each range, in order of the disk:
//     1 to 7 bytes    chunks between the end of the range before it, or the beginning of the disk, and it
//     1 to 7 bytes    chunks that it has, less one
//     3 bytes         write, read, change: hundredths, 0 to 100; change: 255 if nothing is said
//
// Numbers of 1 to 7 bytes: seven bits a byte, the lowest first; the highest bit of all but the last one is set.
#pragma once

#include <span>
#include <vector>

#include "prediction.h"
#include "result.h"

namespace predsnap {

// Ranges of whole chunks, in order, none over another; what they say is rounded to hundredths.
std::vector<uint8_t> pack_predictions(std::span<const Prediction> predictions);

// What was packed, on a disk of so many bytes: chunks beyond its end are left out. Errors: EINVAL: cut off, of another
// version, beyond what a disk can be, or no hundredths; E2BIG: more than kMaxPredictions.
Result<std::vector<Prediction>> unpack_predictions(std::span<const uint8_t> packed, uint64_t disk_size);

}  // namespace predsnap
