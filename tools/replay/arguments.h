// SPDX-License-Identifier: GPL-2.0-or-later
//
// The command line of the programs that replay: `TRACE [--name value]...`.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "source.h"

namespace predsnap::replay {

// What all of them take, for their usage().
extern const char kSourceUsage[];

class Arguments {
  public:
    // An option's value is taken by the function of its name; one that takes none is in `flags`.
    using Take = std::function<Result<void>(std::string_view value)>;

    explicit Arguments(SourceOptions& options);
    void option(const std::string& name, Take take) { options_[name] = std::move(take); }
    void flag(const std::string& name, bool& value) { flags_[name] = &value; }
    Result<void> parse(int argc, char** argv);

    // For options: the number, or an error that says what was expected. With bounds, both included.
    static Result<double> number(std::string_view text, double low, double high);
    static Result<uint64_t> whole(std::string_view text, uint64_t low, uint64_t high);

  private:
    Result<void> take_mix(std::string_view value);

    SourceOptions& source_;
    std::map<std::string, Take, std::less<>> options_;
    std::map<std::string, bool*, std::less<>> flags_;
};

// Ends the program with a message: programs here have nobody to hand an error on to.
[[noreturn]] void fail(const Error& error);

template <typename T>
T must(Result<T> result) {
    if (!result.ok()) {
        fail(result.error());
    }
    return result.take();
}

}  // namespace predsnap::replay
