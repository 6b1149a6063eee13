// SPDX-License-Identifier: GPL-2.0-or-later
//
// One QMP connection over a Unix socket. It is made when it is needed, and again after it was lost. Calls
// wait for the answer, a few seconds at most. One thread at a time.
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include <memory>
#include <string>

#include "block/engine/result.h"

namespace predsnap::predict {

class QmpClient {
  public:
    explicit QmpClient(std::string path) : path_(std::move(path)) {}

    // `arguments` is taken. What QEMU refuses is an error with its text and the code EPROTO; any other code
    // means that the connection was lost.
    Result<void> execute(const char* command, JsonNode* arguments);

  private:
    struct Unref {
        void operator()(void* object) const { g_object_unref(object); }
    };
    Result<void> connect();
    Result<void> send(const std::string& line);
    // Skips events and the greeting.
    Result<void> answer();
    Error lost(const char* what);

    const std::string path_;
    std::unique_ptr<GSocketConnection, Unref> connection_;
    std::unique_ptr<GDataInputStream, Unref> input_;
};

}  // namespace predsnap::predict
