// SPDX-License-Identifier: GPL-2.0-or-later
//
// An XML document of libxml2's, with an owner. One thread at a time.
#pragma once

#include <libxml/tree.h>

#include <memory>
#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::virt {

class XmlDocument {
  public:
    // Entities and the network are left alone. Errors: EINVAL, with what is wrong and where.
    static Result<XmlDocument> parse(const std::string& text);

    // Elements that an XPath expression selects, from the document or from `base`. They stay the document's.
    // The prefix "qemu" is bound to libvirt's namespace for QEMU.
    std::vector<xmlNode*> select(const char* xpath, xmlNode* base = nullptr) const;
    xmlNode* first(const char* xpath, xmlNode* base = nullptr) const;
    std::string text() const;
    xmlDoc* get() const { return document_.get(); }

  private:
    struct Free {
        void operator()(xmlDoc* document) const { xmlFreeDoc(document); }
    };
    std::unique_ptr<xmlDoc, Free> document_;
};

constexpr char kQemuNamespace[] = "http://libvirt.org/schemas/domain/qemu/1.0";

// Empty if it is not there, or the element is null.
std::string attribute(xmlNode* element, const char* name);
std::string content(xmlNode* element);

}  // namespace predsnap::virt
