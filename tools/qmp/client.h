// SPDX-License-Identifier: GPL-2.0-or-later
//
// One QMP connection over a Unix socket. It is made when it is needed, and again after it was lost. Calls
// wait for the answer, for a limited time. One thread at a time.
#pragma once

#include <gio/gio.h>

#include <deque>
#include <memory>
#include <optional>

#include "monitor.h"

namespace predsnap::qmp {

class Client : public Monitor {
  public:
    // `timeout_s`: how long anything may take to be answered.
    explicit Client(std::string path, unsigned timeout_s = 3) : path_(std::move(path)), timeout_s_(timeout_s) {}
    // Over a socket that is connected already and is owned from now on; `name` is for messages.
    static Result<std::unique_ptr<Client>> over(int fd, std::string name, unsigned timeout_s);

    Result<void> connect();
    Result<Json> execute(const std::string& command, const Json& arguments = {}) override;
    // The oldest event that was not taken yet; nothing if none comes in time. Connects if need be.
    Result<std::optional<Json>> next_event(int64_t timeout_us);

  private:
    struct Unref {
        void operator()(void* object) const { g_object_unref(object); }
    };
    Result<void> take(GSocket* socket);
    Result<void> greet();
    Result<void> send(const std::string& line);
    // The next line that came, as JSON; nothing if none is whole in time.
    Result<std::optional<Json>> receive(int64_t timeout_us);
    Result<bool> fill(int64_t timeout_us);
    // Keeps the events that come before it.
    Result<Json> answer();
    Error lost(const std::string& what);

    const std::string path_;
    const unsigned timeout_s_;
    std::unique_ptr<GSocket, Unref> socket_;
    std::string buffer_;     // what came of lines that were not taken yet
    size_t searched_ = 0;    // no line ends in so much of it
    std::deque<Json> events_;
};

}  // namespace predsnap::qmp
