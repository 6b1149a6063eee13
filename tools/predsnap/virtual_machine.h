// SPDX-License-Identifier: GPL-2.0-or-later
//
// The virtual machine that has a target's disk: through libvirt where it is libvirt's, so that libvirt knows.
#pragma once

#include "target.h"

namespace predsnap {

class VirtualMachine {
  public:
    explicit VirtualMachine(Target& target) : target_(target) {}

    // "running", "paused", ...; "none" if there is no machine: a storage daemon, or the tool's own.
    Result<std::string> status();
    Result<void> pause();
    Result<void> resume();
    // As the reset button does; a paused machine stays paused.
    Result<void> reset();
    // As pulling the plug does.
    Result<void> switch_off();

  private:
    Result<void> say(const char* command) { return target_.plain(command).discard(); }
    Target& target_;
};

}  // namespace predsnap
