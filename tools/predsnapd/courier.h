// SPDX-License-Identifier: GPL-2.0-or-later
//
// Speaks with one QEMU in a thread of its own: so nobody waits for one that does not answer. Errands wait
// in slots; a newer one takes the place of one of the same slot that has not begun.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tools/qmp/monitor.h"

namespace predsnap::predict {

class Courier {
  public:
    // Makes the monitor when there is something to do. It is let go afterwards: a QMP socket serves one
    // client at a time, and others may want it.
    using Open = std::function<std::unique_ptr<qmp::Monitor>()>;
    // Runs in the courier's thread.
    using Errand = std::function<void(qmp::Monitor&)>;

    explicit Courier(Open open);
    // What has not begun is dropped. Does not wait for what has: the thread ends by itself afterwards.
    ~Courier();
    Courier(const Courier&) = delete;
    Courier& operator=(const Courier&) = delete;

    // From any thread.
    void post(const std::string& slot, Errand errand);

  private:
    struct Shared;
    const std::shared_ptr<Shared> shared_;
};

}  // namespace predsnap::predict
