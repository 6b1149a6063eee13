// SPDX-License-Identifier: GPL-2.0-or-later
//
// Just enough of libxml2 to read a document. Nodes point into their document and must not outlive it; of a node that is
// not there all members are empty.
#pragma once

#include <libxml/tree.h>

#include <memory>
#include <string>
#include <vector>

#include "block/engine/result.h"

namespace predsnap::hook::xml {

class Node {
  public:
    explicit Node(xmlNode* node = nullptr) : node_(node) {}

    explicit operator bool() const { return node_ != nullptr; }
    xmlNode* get() const { return node_; }
    std::string name() const;
    // In the text that was parsed.
    int line() const { return node_ != nullptr ? static_cast<int>(xmlGetLineNo(node_)) : 0; }
    std::string attribute(const char* name) const;
    bool has(const char* attribute) const;
    // Of the node and all below it.
    std::string text() const;
    // Without a namespace: elements in none.
    Node child(const char* name, const char* space = nullptr) const;
    std::vector<Node> children(const char* name, const char* space = nullptr) const;
    // Elements of a namespace, whatever their names.
    std::vector<Node> children_of(const char* space) const;

  private:
    xmlNode* node_;
};

class Document {
  public:
    // Nothing is fetched, no entity of another file replaced. Errors: EINVAL, with line and reason.
    static Result<Document> parse(const std::string& text);

    Node root() const { return Node(xmlDocGetRootElement(document_.get())); }

  private:
    struct Free {
        void operator()(xmlDoc* document) const { xmlFreeDoc(document); }
    };
    explicit Document(xmlDoc* document) : document_(document) {}

    std::unique_ptr<xmlDoc, Free> document_;
};

}  // namespace predsnap::hook::xml
