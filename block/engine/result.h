// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine's one error idiom: a fallible function returns Result<T>; TRY passes an error on.
// No exceptions cross the engine. The code is an errno value, given to the host unchanged.
#pragma once

#include <cassert>
#include <cerrno>
#include <string>
#include <utility>
#include <variant>

namespace predsnap {

struct [[nodiscard]] Error {
    int code = EIO;       // positive errno value
    std::string message;  // says what is wrong, with which object, and what to do; may be empty for
                          // plain I/O errors, where the code says it all
};

template <typename T>
class [[nodiscard]] Result;

template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool ok() const { return state_.index() == 0; }
    T& value() {
        assert(ok());
        return *std::get_if<0>(&state_);
    }
    const T& value() const {
        assert(ok());
        return *std::get_if<0>(&state_);
    }
    T take() { return std::move(value()); }
    // Only success or failure.
    Result<void> discard() const;
    const Error& error() const {
        assert(!ok());
        return *std::get_if<1>(&state_);
    }

  private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : failed_(true), error_(std::move(error)) {}

    bool ok() const { return !failed_; }
    void take() const { assert(ok()); }
    const Error& error() const {
        assert(failed_);
        return error_;
    }

  private:
    bool failed_ = false;
    Error error_;
};

template <typename T>
Result<void> Result<T>::discard() const {
    return ok() ? Result<void>() : Result<void>(error());
}

#define PREDSNAP_CONCAT2(a, b) a##b
#define PREDSNAP_CONCAT(a, b) PREDSNAP_CONCAT2(a, b)

// TRY(expr): returns the error of a Result<void> (or drops the value of any other).
#define TRY(expr)                                             \
    do {                                                      \
        if (auto try_result_ = (expr); !try_result_.ok()) {   \
            return ::predsnap::Error(try_result_.error());    \
        }                                                     \
    } while (0)

// TRY_ASSIGN(auto x, expr): x = value of expr, or returns its error.
#define TRY_ASSIGN(lhs, expr)                                                       \
    auto PREDSNAP_CONCAT(try_, __LINE__) = (expr);                                  \
    if (!PREDSNAP_CONCAT(try_, __LINE__).ok()) {                                    \
        return ::predsnap::Error(PREDSNAP_CONCAT(try_, __LINE__).error());          \
    }                                                                               \
    lhs = PREDSNAP_CONCAT(try_, __LINE__).take()

}  // namespace predsnap
