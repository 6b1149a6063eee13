// SPDX-License-Identifier: GPL-2.0-or-later
#include "protect_xml.h"

#include <libxml/parser.h>

#include "libvirt-hooks/metadata.h"
#include "libvirt-hooks/node.h"
#include "libvirt-hooks/xml.h"
#include "tools/virt/xml.h"

namespace predsnap::protect {
namespace {

using virt::XmlDocument;

const xmlChar* to_xml(const std::string& text) { return reinterpret_cast<const xmlChar*>(text.c_str()); }

xmlNode* root_of(const XmlDocument& document) { return xmlDocGetRootElement(document.get()); }

xmlNode* child(xmlNode* parent, const char* name, const char* space = nullptr) { return hook::xml::Node(parent).child(name, space).get(); }

// The element of that name and namespace one of whose attributes has that value.
xmlNode* child_with(xmlNode* parent, const char* name, const char* space, const char* key, const std::string& value) {
    for (const hook::xml::Node& node : hook::xml::Node(parent).children(name, space)) {
        if (node.attribute(key) == value) {
            return node.get();
        }
    }
    return nullptr;
}

bool has_elements(const xmlNode* parent) {
    return xmlChildElementCount(const_cast<xmlNode*>(parent)) > 0;
}

void drop(xmlNode* node) {
    if (node != nullptr) {
        xmlUnlinkNode(node);
        xmlFreeNode(node);
    }
}

// The namespace as the document calls it, declared on `node` if it is not yet.
xmlNs* space_on(xmlNode* node, const char* href, const char* prefix) {
    xmlNs* space = xmlSearchNsByHref(node->doc, node, to_xml(href));
    return space != nullptr ? space : xmlNewNs(node, to_xml(href), to_xml(prefix));
}

xmlNode* add(xmlNode* parent, const char* name, xmlNs* space = nullptr) {
    xmlNode* node = xmlNewChild(parent, space, to_xml(name), nullptr);
    xmlSetNs(node, space);
    return node;
}

xmlNode* child_or_new(xmlNode* parent, const char* name, xmlNs* space = nullptr) {
    xmlNode* found = child(parent, name, space != nullptr ? reinterpret_cast<const char*>(space->href) : nullptr);
    return found != nullptr ? found : add(parent, name, space);
}

void set(xmlNode* node, const char* name, const std::string& value) { xmlSetProp(node, to_xml(name), to_xml(value)); }

template <typename T>
void set(xmlNode* node, const char* name, const std::optional<T>& value) {
    if (value.has_value()) {
        set(node, name, std::to_string(*value));
    }
}

// Metadata.

xmlNode* disks_element(xmlNode* root) { return child(child(root, "metadata"), "disks", hook::kNamespace); }

xmlNode* disk_element(xmlNode* root, const std::string& target) { return child_with(disks_element(root), "disk", hook::kNamespace, "target", target); }

void drop_metadata(xmlNode* root, const std::string& target) {
    drop(disk_element(root, target));
    xmlNode* disks = disks_element(root);
    if (disks != nullptr && !has_elements(disks)) {
        drop(disks);
        xmlNode* metadata = child(root, "metadata");
        if (!has_elements(metadata)) {
            drop(metadata);
        }
    }
}

void write_history(xmlNode* element, const hook::ProtectedDisk& disk, xmlNs* space) {
    if (!disk.window_s.has_value() && !disk.history_bytes.has_value() && disk.retention.empty()) {
        return;
    }
    xmlNode* history = add(element, "history", space);
    set(history, "window", disk.window_s);
    set(history, "bytes", disk.history_bytes);
    for (const hook::RetentionRule& rule : disk.retention) {
        xmlNode* keep = add(history, "keep", space);
        set(keep, "every", std::to_string(rule.every_s));
        set(keep, "for", std::to_string(rule.for_s));
    }
}

void write_file(xmlNode* element, const char* name, const std::string& path, xmlNs* space) {
    if (!path.empty()) {
        set(add(element, name, space), "file", path);
    }
}

xmlNode* write_metadata(xmlNode* root, const hook::ProtectedDisk& disk) {
    drop_metadata(root, disk.target);
    xmlNode* metadata = child_or_new(root, "metadata");
    xmlNode* disks = disks_element(root);
    if (disks == nullptr) {
        disks = add(metadata, "disks");
        xmlSetNs(disks, xmlNewNs(disks, to_xml(hook::kNamespace), to_xml("predsnap")));
    }
    xmlNs* space = disks->ns;
    xmlNode* element = add(disks, "disk", space);
    set(element, "target", disk.target);
    set(element, "way", disk.way == hook::Way::kDaemon ? "daemon" : "node");
    set(element, "node", disk.node);
    set(element, "weight", disk.weight);
    xmlNode* image = add(element, "image", space);
    set(image, "file", disk.image);
    set(image, "uuid", disk.uuid);
    if (!disk.base.empty()) {
        write_file(element, "base", disk.base, space);
        set(child(element, "base", hook::kNamespace), "format", disk.base_format);
    }
    write_file(element, "capacity", disk.capacity, space);
    write_history(element, disk, space);
    if (disk.staging_bytes.has_value()) {
        set(add(element, "staging", space), "bytes", disk.staging_bytes);
    }
    write_file(element, "access-log", disk.access_log, space);
    return element;
}

// What QEMU is told.

xmlNs* qemu_space(xmlNode* root) { return space_on(root, virt::kQemuNamespace, "qemu"); }

void add_argument(xmlNode* root, const std::string& value) {
    xmlNs* space = qemu_space(root);
    set(add(child_or_new(root, "commandline", space), "arg", space), "value", value);
}

// Those that open the node: the option before it goes, too.
void drop_arguments(xmlNode* root, const std::string& node) {
    xmlNode* line = child(root, "commandline", virt::kQemuNamespace);
    xmlNode* before = nullptr;
    for (xmlNode* argument = line != nullptr ? xmlFirstElementChild(line) : nullptr; argument != nullptr;) {
        xmlNode* next = xmlNextElementSibling(argument);
        if (hook::names_node(virt::attribute(argument, "value"), node)) {
            drop(before);
            drop(argument);
            before = nullptr;
        } else {
            before = argument;
        }
        argument = next;
    }
    if (line != nullptr && !has_elements(line)) {
        drop(line);
    }
}

xmlNode* find_override(xmlNode* root, const std::string& alias) {
    return child_with(child(root, "override", virt::kQemuNamespace), "device", virt::kQemuNamespace, "alias", alias);
}

void drop_property(xmlNode* root, const std::string& alias, const char* name) {
    xmlNode* device = find_override(root, alias);
    xmlNode* frontend = child(device, "frontend", virt::kQemuNamespace);
    for (xmlNode* node = frontend != nullptr ? xmlFirstElementChild(frontend) : nullptr; node != nullptr;) {
        xmlNode* next = xmlNextElementSibling(node);
        if (virt::attribute(node, "name") == name) {
            drop(node);
        }
        node = next;
    }
    if (frontend != nullptr && !has_elements(frontend)) {
        drop(device);
    }
    xmlNode* overrides = child(root, "override", virt::kQemuNamespace);
    if (overrides != nullptr && !has_elements(overrides)) {
        drop(overrides);
    }
}

void set_property(xmlNode* root, const std::string& alias, const char* name, const char* type, const std::string& value) {
    drop_property(root, alias, name);
    xmlNs* space = qemu_space(root);
    xmlNode* device = find_override(root, alias);
    if (device == nullptr) {
        device = add(child_or_new(root, "override", space), "device", space);
        set(device, "alias", alias);
    }
    xmlNode* property = add(child_or_new(device, "frontend", space), "property", space);
    set(property, "name", name);
    set(property, "type", type);
    set(property, "value", value);
}

// Disks.

Result<xmlNode*> find_disk(const XmlDocument& document, const std::string& target) {
    xmlNode* found = document.first(("/domain/devices/disk[target/@dev='" + target + "']").c_str());
    return found != nullptr ? Result<xmlNode*>(found) : Error{ENOENT, "the domain has no disk '" + target + "'"};
}

constexpr char kOwnAlias[] = "ua-predsnap-";

// The device's name in QEMU at the next start; one that only libvirt knows then is replaced by ours.
std::string ensure_alias(xmlNode* disk, const hook::Disk& parsed) {
    if (!parsed.alias.empty()) {
        return parsed.alias;
    }
    const std::string alias = kOwnAlias + parsed.target;
    set(child_or_new(disk, "alias"), "name", alias);
    return alias;
}

std::string to_text(xmlNode* node) {
    xmlBuffer* buffer = xmlBufferCreate();
    xmlNodeDump(buffer, node->doc, node, 0, 0);
    std::string text = reinterpret_cast<const char*>(xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}

void replace_by_vhostuser(xmlNode* disk, const std::string& socket) {
    set(disk, "type", "vhostuser");
    set(disk, "snapshot", "no");
    for (const char* name : {"driver", "source", "backingStore", "auth", "encryption", "iotune", "throttlefilters", "mirror",
                             "transient", "serial", "shareable", "readonly"}) {
        drop(child(disk, name));
    }
    xmlNode* driver = add(disk, "driver");
    set(driver, "name", "qemu");
    set(driver, "type", "raw");
    xmlNode* source = add(disk, "source");
    set(source, "type", "unix");
    set(source, "path", socket);
    xmlNode* reconnect = add(source, "reconnect");
    set(reconnect, "enabled", "yes");
    set(reconnect, "timeout", "1");
}

void share_memory(xmlNode* root) {
    xmlNode* backing = child_or_new(root, "memoryBacking");
    if (child(backing, "source") == nullptr && child(backing, "hugepages") == nullptr) {
        set(add(backing, "source"), "type", "memfd");
    }
    set(child_or_new(backing, "access"), "mode", "shared");
}

// Of what add_daemon() replaced: the disk and the memory's backing, if it had one, in an element that only holds them together.
std::string original_of(xmlNode* root, xmlNode* disk) {
    xmlNode* backing = child(root, "memoryBacking");
    return "<original>" + (backing != nullptr ? to_text(backing) : "") + to_text(disk) + "</original>";
}

Result<void> restore_original(xmlNode* root, xmlNode* disk, const std::string& text) {
    TRY_ASSIGN(const XmlDocument original, XmlDocument::parse(text));
    xmlNode* old_disk = original.first("/original/disk");
    if (old_disk == nullptr) {
        return Error{EINVAL, "the metadata has no <predsnap:original> to restore the disk from: put it back with virsh edit"};
    }
    xmlReplaceNode(disk, xmlDocCopyNode(old_disk, root->doc, 1));
    xmlFreeNode(disk);
    const XmlDocument now = XmlDocument::parse(to_text(root)).take();
    if (now.first("/domain/devices/disk[@type='vhostuser']|/domain/devices/filesystem[driver/@type='virtiofs']|"
                  "/domain/devices/interface[@type='vhostuser']") == nullptr) {
        drop(child(root, "memoryBacking"));
        if (xmlNode* backing = original.first("/original/memoryBacking")) {
            xmlAddChild(root, xmlDocCopyNode(backing, root->doc, 1));
        }
    }
    return {};
}

void drop_namespaces(xmlNode* node) {
    xmlFreeNsList(node->nsDef);
    node->nsDef = nullptr;
    for (; node != nullptr; node = node->next) {
        node->ns = nullptr;
        if (node->children != nullptr) {
            drop_namespaces(node->children);
        }
    }
}

Result<const hook::Disk> parsed_disk(const std::string& xml, const std::string& target) {
    TRY_ASSIGN(const hook::Domain domain, hook::parse_domain(xml));
    const hook::Disk* found = domain.find_disk(target);
    return found != nullptr ? Result<const hook::Disk>(*found) : Error{ENOENT, "the domain has no disk '" + target + "'"};
}

}  // namespace

Result<std::string> add_node(const std::string& xml, const hook::ProtectedDisk& disk, const std::string& below, bool direct) {
    TRY_ASSIGN(const hook::Disk parsed, parsed_disk(xml, disk.target));
    TRY_ASSIGN(const XmlDocument document, XmlDocument::parse(xml));
    xmlNode* root = root_of(document);
    TRY_ASSIGN(xmlNode* element, find_disk(document, disk.target));
    const std::string alias = ensure_alias(element, parsed);
    write_metadata(root, disk);
    drop_arguments(root, disk.node);
    add_argument(root, "-blockdev");
    add_argument(root, hook::node_json(disk, below, direct));
    set_property(root, alias, "drive", "string", disk.node);
    return document.text();
}

Result<std::string> add_daemon(const std::string& xml, const hook::ProtectedDisk& disk, const std::string& socket) {
    TRY_ASSIGN(const hook::Disk parsed, parsed_disk(xml, disk.target));
    TRY_ASSIGN(const XmlDocument document, XmlDocument::parse(xml));
    xmlNode* root = root_of(document);
    TRY_ASSIGN(xmlNode* element, find_disk(document, disk.target));
    const std::string original = original_of(root, element);
    const std::string alias = ensure_alias(element, parsed);
    xmlNode* metadata = write_metadata(root, disk);
    xmlNodeAddContent(add(metadata, "original", metadata->ns), to_xml(original));
    replace_by_vhostuser(element, socket);
    share_memory(root);
    set_property(root, alias, "config-wce", "bool", "false");
    return document.text();
}

Result<std::string> restore(const std::string& xml, const hook::ProtectedDisk& disk) {
    TRY_ASSIGN(const hook::Disk parsed, parsed_disk(xml, disk.target));
    TRY_ASSIGN(const XmlDocument document, XmlDocument::parse(xml));
    xmlNode* root = root_of(document);
    TRY_ASSIGN(xmlNode* element, find_disk(document, disk.target));
    if (disk.way == hook::Way::kDaemon) {
        const std::string original =
            virt::content(child(disk_element(root, disk.target), "original", hook::kNamespace));
        TRY(restore_original(root, element, original));
        drop_property(root, parsed.alias, "config-wce");
    } else {
        drop_arguments(root, disk.node);
        drop_property(root, parsed.alias, "drive");
        if (parsed.alias.starts_with(kOwnAlias)) {
            drop(child(element, "alias"));
        }
    }
    set(disk_element(root, disk.target), "state", "leaving");
    return document.text();
}

Result<std::string> forget(const std::string& xml, const std::string& target) {
    TRY_ASSIGN(const XmlDocument document, XmlDocument::parse(xml));
    drop_metadata(root_of(document), target);
    return document.text();
}

Result<std::string> mark_removing(const std::string& xml, const std::string& target, bool merged) {
    TRY_ASSIGN(const XmlDocument document, XmlDocument::parse(xml));
    xmlNode* element = disk_element(root_of(document), target);
    if (element == nullptr) {
        return Error{ENOENT, "the metadata has no disk '" + target + "'"};
    }
    set(element, "state", merged ? "merged" : "removing");
    return document.text();
}

Result<std::string> metadata_of(const std::string& xml) {
    TRY_ASSIGN(const XmlDocument document, XmlDocument::parse(xml));
    xmlNode* disks = disks_element(root_of(document));
    if (disks == nullptr) {
        return std::string();
    }
    xmlNode* copy = xmlDocCopyNode(disks, document.get(), 1);
    drop_namespaces(copy);
    const std::string text = to_text(copy);
    xmlFreeNode(copy);
    return text;
}

}  // namespace predsnap::protect
