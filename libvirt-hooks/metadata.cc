// SPDX-License-Identifier: GPL-2.0-or-later
#include "metadata.h"

#include <libxml/relaxng.h>

#include <cstdarg>
#include <cstdlib>
#include <memory>

#include "schema.h"

namespace predsnap::hook {
namespace {

// What a validation found first. libxml2 tells of the innermost fault first, then of what it makes invalid.
struct Fault {
    int line = 0;
    std::string message;
};

void note_fault(void* to, xmlErrorPtr error) {
    auto* fault = static_cast<Fault*>(to);
    if (fault->message.empty() && error->message != nullptr) {
        fault->line = error->line;
        fault->message = error->message;
        while (!fault->message.empty() && fault->message.back() == '\n') {
            fault->message.pop_back();
        }
    }
}

template <auto Free>
struct Freed {
    template <typename T>
    void operator()(T* object) const {
        Free(object);
    }
};

// The element as a document of its own, which a schema can be held against. Lines stay those of the domain's.
std::unique_ptr<xmlDoc, Freed<xmlFreeDoc>> as_document(const xml::Node& element) {
    std::unique_ptr<xmlDoc, Freed<xmlFreeDoc>> document(xmlNewDoc(nullptr));
    xmlDocSetRootElement(document.get(), xmlDocCopyNode(element.get(), document.get(), 1));
    return document;
}

// Empty message: valid.
Fault validate(const xml::Node& element) {
    const std::unique_ptr<xmlRelaxNGParserCtxt, Freed<xmlRelaxNGFreeParserCtxt>> parser(
        xmlRelaxNGNewMemParserCtxt(kSchema, static_cast<int>(sizeof(kSchema) - 1)));
    Fault fault;
    xmlRelaxNGSetParserStructuredErrors(parser.get(), note_fault, &fault);
    const std::unique_ptr<xmlRelaxNG, Freed<xmlRelaxNGFree>> schema(xmlRelaxNGParse(parser.get()));
    if (schema == nullptr) {
        return {0, "the schema itself cannot be read: " + fault.message};
    }
    const std::unique_ptr<xmlRelaxNGValidCtxt, Freed<xmlRelaxNGFreeValidCtxt>> context(
        xmlRelaxNGNewValidCtxt(schema.get()));
    xmlRelaxNGSetValidStructuredErrors(context.get(), note_fault, &fault);
    const auto document = as_document(element);
    if (xmlRelaxNGValidateDoc(context.get(), document.get()) != 0 && fault.message.empty()) {
        fault.message = "does not match the schema";
    }
    return fault;
}

std::optional<int64_t> number(const xml::Node& node, const char* attribute) {
    if (!node.has(attribute)) {
        return std::nullopt;
    }
    return std::strtoll(node.attribute(attribute).c_str(), nullptr, 10);
}

xml::Node part(const xml::Node& disk, const char* name) { return disk.child(name, kNamespace); }

void parse_history(const xml::Node& history, ProtectedDisk& disk) {
    disk.window_s = number(history, "window");
    disk.history_bytes = number(history, "bytes");
    for (const xml::Node& keep : history.children("keep", kNamespace)) {
        disk.retention.push_back({*number(keep, "every"), *number(keep, "for")});
    }
}

ProtectedDisk parse_disk(const xml::Node& node) {
    ProtectedDisk disk;
    disk.line = node.line();
    disk.target = node.attribute("target");
    disk.way = node.attribute("way") == "daemon" ? Way::kDaemon : Way::kNode;
    disk.merged = node.attribute("state") == "merged";
    disk.leaving = node.attribute("state") == "leaving";
    disk.removing = disk.merged || node.attribute("state") == "removing";
    disk.node = node.has("node") ? node.attribute("node") : "predsnap-" + disk.target;
    disk.weight = number(node, "weight");
    disk.image = part(node, "image").attribute("file");
    disk.uuid = part(node, "image").attribute("uuid");
    disk.base = part(node, "base").attribute("file");
    disk.base_format = part(node, "base").attribute("format");
    if (const std::optional<int64_t> size = number(part(node, "size"), "bytes")) {
        disk.size = static_cast<uint64_t>(*size);
    }
    disk.capacity = part(node, "capacity").attribute("file");
    parse_history(part(node, "history"), disk);
    disk.staging_bytes = number(part(node, "staging"), "bytes");
    disk.access_log = part(node, "access-log").attribute("file");
    disk.monitor = part(node, "monitor").attribute("socket");
    return disk;
}

// The disk that a faulty line belongs to, for the message.
std::string disk_at(const xml::Node& disks, int line) {
    std::string target;
    for (const xml::Node& disk : disks.children("disk", kNamespace)) {
        if (disk.line() <= line) {
            target = disk.attribute("target");
        }
    }
    return target.empty() ? "" : ", disk '" + target + "'";
}

}  // namespace

Result<std::vector<ProtectedDisk>> parse_metadata(const std::string& domain, const xml::Node& metadata) {
    std::vector<ProtectedDisk> disks;
    for (const xml::Node& element : metadata.children_of(kNamespace)) {
        const Fault fault = validate(element);
        if (!fault.message.empty()) {
            return Error{EINVAL, "domain '" + domain + "'" + disk_at(element, fault.line) + ", line " +
                                     std::to_string(fault.line) + " of its XML: the metadata of predsnap is not valid: " +
                                     fault.message + ". Mend it with virsh edit; predsnap-hook(8) has its form"};
        }
        for (const xml::Node& node : element.children("disk", kNamespace)) {
            disks.push_back(parse_disk(node));
        }
    }
    return disks;
}

}  // namespace predsnap::hook
