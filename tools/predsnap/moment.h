// SPDX-License-Identifier: GPL-2.0-or-later
//
// A state of a disk as the user names it: a snapshot, a time, or a sequence number.
#pragma once

#include <optional>
#include <string>

#include "target.h"
#include "times.h"

namespace predsnap {

// How to name one, for --help.
extern const char kMomentHelp[];

struct Moment {
    enum class Kind { snapshot, time, sequence } kind;
    std::string snapshot;
    int64_t time_us = 0;
    int64_t sequence = 0;

    // The member of QMP's that says it: "snapshot", "time" or "sequence".
    void set(JsonMap& arguments) const;
    Json json() const;
};

// The name of a snapshot the disk has; a number: a sequence number; or a time (times.h). What could be two of these is
// refused: "snapshot:X", "time:X" and "sequence:X" say which. `node`: what query-predsnap says of the disk.
Result<Moment> parse_moment(const std::string& text, const Json& node, const Clock& clock);

// By what query-predsnap says of the disk. The names are for messages: "it has 'a', 'b'", or "it has none".
bool has_snapshot(const Json& node, const std::string& name);
std::string snapshot_names(const Json& node);

// The point that the moment leads to, as predsnap-query-points shows it; of one that is no point, only "sequence" and,
// if it is known, "time". Errors: ENOENT, with what the history covers.
Result<Json> find_state(Target& target, const Json& node, const Moment& moment, const Clock& clock);

// The time its history begins at, by what query-predsnap says of a disk; nothing if there is none yet.
Json history_begin(const Json& node);
// What the history covers, in words; empty if there is nothing yet.
std::string covered(const Json& node, const Clock& clock);
// QEMU's refusal of a moment in the tool's words: times for people.
Error in_words(const Error& error, const Json& node, const Clock& clock);

// "sequence 2230, 14:32:05.893, snapshot 'before'"
std::string show_state(const Json& state, const Clock& clock);

}  // namespace predsnap
