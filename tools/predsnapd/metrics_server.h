// SPDX-License-Identifier: GPL-2.0-or-later
//
// Serves a page of text, /metrics, over HTTP, in a thread of its own: what the daemon is busy with does not
// hold up who asks.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "block/engine/result.h"

namespace predsnap::predict {

class MetricsServer {
  public:
    // Makes the page; called in the server's thread.
    using Page = std::function<std::string()>;
    // `address`: the path of a Unix socket, or 127.0.0.1:PORT or [::1]:PORT. Nothing else: the page names
    // disks, and has no password. A socket that nobody serves any more is replaced. Returns once it listens.
    static Result<std::unique_ptr<MetricsServer>> start(const std::string& address, Page page);
    // Removes the socket.
    ~MetricsServer();

  private:
    struct Thread;
    explicit MetricsServer(std::unique_ptr<Thread> thread);
    std::unique_ptr<Thread> thread_;
};

}  // namespace predsnap::predict
