// SPDX-License-Identifier: GPL-2.0-or-later
//
// <predsnap:disk> in a domain's <metadata>: checked against predsnap.rng, then read.
#pragma once

#include <string>
#include <vector>

#include "domain.h"
#include "xml.h"

namespace predsnap::hook {

inline constexpr char kNamespace[] = "urn:predsnap:libvirt:1";

// `metadata`: the element, or none. Nothing of predsnap's in it: an empty list.
Result<std::vector<ProtectedDisk>> parse_metadata(const std::string& domain, const xml::Node& metadata);

}  // namespace predsnap::hook
