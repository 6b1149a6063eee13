// SPDX-License-Identifier: GPL-2.0-or-later
#include "xml.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>

namespace predsnap::virt {
namespace {

const xmlChar* as_xml(const char* text) { return reinterpret_cast<const xmlChar*>(text); }

std::string take(xmlChar* text) {
    std::string result = text != nullptr ? reinterpret_cast<const char*>(text) : "";
    xmlFree(text);
    return result;
}

}  // namespace

Result<XmlDocument> XmlDocument::parse(const std::string& text) {
    XmlDocument document;
    document.document_.reset(xmlReadMemory(text.data(), static_cast<int>(text.size()), "domain.xml", nullptr,
                                           XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING));
    if (!document.document_) {
        const xmlError* error = xmlGetLastError();
        return Error{EINVAL, std::string("not XML: ") + (error != nullptr ? error->message : "empty")};
    }
    return document;
}

std::vector<xmlNode*> XmlDocument::select(const char* xpath, xmlNode* base) const {
    std::vector<xmlNode*> found;
    xmlXPathContext* context = xmlXPathNewContext(get());
    xmlXPathRegisterNs(context, as_xml("qemu"), as_xml(kQemuNamespace));
    context->node = base != nullptr ? base : xmlDocGetRootElement(get());
    xmlXPathObject* result = xmlXPathEvalExpression(as_xml(xpath), context);
    if (result != nullptr && result->nodesetval != nullptr) {
        found.assign(result->nodesetval->nodeTab, result->nodesetval->nodeTab + result->nodesetval->nodeNr);
    }
    xmlXPathFreeObject(result);
    xmlXPathFreeContext(context);
    return found;
}

xmlNode* XmlDocument::first(const char* xpath, xmlNode* base) const {
    const std::vector<xmlNode*> found = select(xpath, base);
    return found.empty() ? nullptr : found[0];
}

std::string XmlDocument::text() const {
    xmlChar* text = nullptr;
    int length = 0;
    xmlDocDumpFormatMemory(get(), &text, &length, 1);
    return take(text);
}

std::string attribute(xmlNode* element, const char* name) {
    return element != nullptr ? take(xmlGetNoNsProp(element, as_xml(name))) : "";
}

std::string content(xmlNode* element) { return element != nullptr ? take(xmlNodeGetContent(element)) : ""; }

}  // namespace predsnap::virt
