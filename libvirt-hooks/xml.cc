// SPDX-License-Identifier: GPL-2.0-or-later
#include "xml.h"

#include <libxml/parser.h>

#include <cstring>

namespace predsnap::hook::xml {
namespace {

const xmlChar* to_xml(const char* text) { return reinterpret_cast<const xmlChar*>(text); }

std::string take(xmlChar* text) {
    std::string taken = text != nullptr ? reinterpret_cast<const char*>(text) : "";
    xmlFree(text);
    return taken;
}

bool in_space(const xmlNode* node, const char* space) {
    if (node->type != XML_ELEMENT_NODE) {
        return false;
    }
    const char* own = node->ns != nullptr ? reinterpret_cast<const char*>(node->ns->href) : nullptr;
    return space == nullptr ? own == nullptr : own != nullptr && std::strcmp(own, space) == 0;
}

template <typename Wanted>
std::vector<Node> select(const xmlNode* parent, Wanted wanted) {
    std::vector<Node> found;
    for (xmlNode* node = parent != nullptr ? parent->children : nullptr; node != nullptr; node = node->next) {
        if (wanted(node)) {
            found.emplace_back(node);
        }
    }
    return found;
}

}  // namespace

std::string Node::name() const { return node_ != nullptr ? reinterpret_cast<const char*>(node_->name) : ""; }

std::string Node::attribute(const char* name) const {
    return node_ != nullptr ? take(xmlGetNoNsProp(node_, to_xml(name))) : "";
}

bool Node::has(const char* attribute) const {
    return node_ != nullptr && xmlHasProp(node_, to_xml(attribute)) != nullptr;
}

std::string Node::text() const { return node_ != nullptr ? take(xmlNodeGetContent(node_)) : ""; }

std::vector<Node> Node::children(const char* name, const char* space) const {
    return select(node_, [&](const xmlNode* node) {
        return in_space(node, space) && xmlStrcmp(node->name, to_xml(name)) == 0;
    });
}

std::vector<Node> Node::children_of(const char* space) const {
    return select(node_, [&](const xmlNode* node) { return in_space(node, space); });
}

Node Node::child(const char* name, const char* space) const {
    const std::vector<Node> found = children(name, space);
    return found.empty() ? Node() : found.front();
}

Result<Document> Document::parse(const std::string& text) {
    xmlDoc* document = xmlReadMemory(text.data(), static_cast<int>(text.size()), "domain.xml", nullptr,
                                     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (document == nullptr) {
        const xmlError* error = xmlGetLastError();
        std::string why = error != nullptr && error->message != nullptr ? error->message : "not XML\n";
        why.pop_back();
        const int line = error != nullptr ? error->line : 0;
        return Error{EINVAL, "the domain's XML, line " + std::to_string(line) + ": " + why};
    }
    return Document(document);
}

}  // namespace predsnap::hook::xml
