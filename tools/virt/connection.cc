// SPDX-License-Identifier: GPL-2.0-or-later
#include "connection.h"

#include <libvirt/virterror.h>

#include <cstdlib>

namespace predsnap::virt {
namespace {

constexpr size_t kNamesShown = 20;

int code_of(const virError* error) {
    switch (error != nullptr ? error->code : VIR_ERR_INTERNAL_ERROR) {
        case VIR_ERR_NO_DOMAIN:
            return ENOENT;
        case VIR_ERR_AUTH_FAILED:
        case VIR_ERR_AUTH_CANCELLED:
        case VIR_ERR_ACCESS_DENIED:
            return EACCES;
        case VIR_ERR_OPERATION_INVALID:
            return EBUSY;
        default:
            return EIO;
    }
}

// Errors are returned; libvirt would print them as well.
void be_silent() {
    virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});
}

std::string names_of(const std::vector<Domain>& domains) {
    if (domains.empty()) {
        return "there is none";
    }
    std::string names;
    for (size_t i = 0; i < domains.size() && i < kNamesShown; ++i) {
        names += (i > 0 ? ", '" : "'") + domains[i].name() + "'";
    }
    return "there are " + names + (domains.size() > kNamesShown ? " and others" : "");
}

}  // namespace

Error failed(const std::string& what) {
    const virError* error = virGetLastError();
    return Error{code_of(error), what + ": " + (error != nullptr && error->message != nullptr ? error->message : "libvirt failed")};
}

Result<Connection> Connection::open(const std::string& uri) {
    be_silent();
    Connection connection;
    virConnectPtr made = virConnectOpenAuth(uri.empty() ? nullptr : uri.c_str(), virConnectAuthPtrDefault, 0);
    if (made == nullptr) {
        Error error = failed(uri.empty() ? "libvirt cannot be reached" : "libvirt cannot be reached at " + uri);
        error.message += "\n(is libvirtd running, and is the user in the group libvirt?)";
        return error;
    }
    connection.connection_.reset(made, [](virConnectPtr closed) { virConnectClose(closed); });
    char* actual = virConnectGetURI(made);
    connection.uri_ = actual != nullptr ? actual : uri;
    std::free(actual);
    return connection;
}

Result<Domain> Connection::find(const std::string& name) const {
    virDomainPtr found = virDomainLookupByName(get(), name.c_str());
    if (found == nullptr) {
        found = virDomainLookupByUUIDString(get(), name.c_str());
    }
    char* end = nullptr;
    const long number = std::strtol(name.c_str(), &end, 10);
    if (found == nullptr && !name.empty() && *end == '\0') {
        found = virDomainLookupByID(get(), static_cast<int>(number));
    }
    if (found != nullptr) {
        return Domain(found);
    }
    TRY_ASSIGN(const std::vector<Domain> others, domains());
    return Error{ENOENT, "libvirt (" + uri_ + ") has no domain '" + name + "': " + names_of(others)};
}

Result<std::vector<Domain>> Connection::domains() const {
    virDomainPtr* list = nullptr;
    const int count = virConnectListAllDomains(get(), &list, 0);
    if (count < 0) {
        return failed("the domains of " + uri_);
    }
    std::vector<Domain> result;
    for (int i = 0; i < count; ++i) {
        result.emplace_back(list[i]);
    }
    std::free(list);
    return result;
}

Result<Domain> Connection::define(const std::string& xml) const {
    virDomainPtr made = virDomainDefineXMLFlags(get(), xml.c_str(), VIR_DOMAIN_DEFINE_VALIDATE);
    if (made == nullptr) {
        return failed("the domain cannot be defined");
    }
    return Domain(made);
}

}  // namespace predsnap::virt
