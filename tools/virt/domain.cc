// SPDX-License-Identifier: GPL-2.0-or-later
#include "domain.h"

#include <libvirt/libvirt-qemu.h>

#include <cstdlib>

#include "connection.h"

namespace predsnap::virt {

std::string Domain::uuid() const {
    char text[VIR_UUID_STRING_BUFLEN] = "";
    virDomainGetUUIDString(get(), text);
    return text;
}

bool Domain::paused() const {
    int state = 0;
    return virDomainGetState(get(), &state, nullptr, 0) == 0 && state == VIR_DOMAIN_PAUSED;
}

Result<std::string> Domain::xml(Xml which) const {
    const bool persistent_one = which == Xml::persistent && persistent();
    char* text = virDomainGetXMLDesc(get(), persistent_one ? VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE : 0);
    if (text == nullptr) {
        return failed("domain '" + name() + "': its XML");
    }
    std::string result = text;
    std::free(text);
    return result;
}

Result<std::vector<Disk>> Domain::disks(Xml which) const {
    TRY_ASSIGN(const std::string text, xml(which));
    return disks_of(text);
}

Result<void> Domain::done(int result, const char* what) const {
    if (result < 0) {
        return failed("domain '" + name() + "' cannot be " + what);
    }
    return {};
}

Result<void> Domain::start() const { return done(virDomainCreate(get()), "started"); }
Result<void> Domain::pause() const { return done(virDomainSuspend(get()), "paused"); }
Result<void> Domain::resume() const { return done(virDomainResume(get()), "resumed"); }
Result<void> Domain::reset() const { return done(virDomainReset(get(), 0), "reset"); }
Result<void> Domain::destroy() const { return done(virDomainDestroy(get()), "stopped"); }

Result<Json> Domain::monitor(const std::string& command, const Json& arguments) const {
    JsonMap line;
    line.set("execute", command);
    if (arguments) {
        line.set("arguments", arguments);
    }
    char* text = nullptr;
    if (virDomainQemuMonitorCommand(get(), line.done().text().c_str(), &text, 0) < 0) {
        return failed("domain '" + name() + "', its monitor");
    }
    const Result<Json> parsed = Json::parse(text);
    std::free(text);
    TRY_ASSIGN(const Json answer, parsed);
    if (const Json error = answer["error"]) {
        return Error{qmp::kRefused, error["desc"].string("refused")};
    }
    return answer["return"];
}

}  // namespace predsnap::virt
