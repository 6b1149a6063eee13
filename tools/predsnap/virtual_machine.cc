// SPDX-License-Identifier: GPL-2.0-or-later
#include "virtual_machine.h"

namespace predsnap {

Result<std::string> VirtualMachine::status() {
    if (!target_.is_live()) {
        return std::string("none");
    }
    const Result<Json> answer = target_.plain("query-status");
    if (!answer.ok() && answer.error().code == qmp::kRefused) {
        return std::string("none");  // a storage daemon does not know the command
    }
    TRY_ASSIGN(const Json status, answer);
    return status["status"].string();
}

Result<void> VirtualMachine::pause() { return target_.domain() ? target_.domain()->pause() : say("stop"); }
Result<void> VirtualMachine::resume() { return target_.domain() ? target_.domain()->resume() : say("cont"); }
Result<void> VirtualMachine::reset() { return target_.domain() ? target_.domain()->reset() : say("system_reset"); }
Result<void> VirtualMachine::switch_off() { return target_.domain() ? target_.domain()->destroy() : say("quit"); }

}  // namespace predsnap
