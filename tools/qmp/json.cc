// SPDX-License-Identifier: GPL-2.0-or-later
#include "json.h"

namespace predsnap {
namespace {

bool holds(JsonNode* node, GType type) {
    return node != nullptr && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
}

JsonNode* value_node() { return json_node_alloc(); }

}  // namespace

Json Json::take(JsonNode* node) { return Json(node); }


Result<Json> Json::parse(const std::string& text) {
    GError* error = nullptr;
    JsonNode* node = json_from_string(text.c_str(), &error);
    if (node == nullptr) {
        const std::string why = error != nullptr ? error->message : "empty";
        g_clear_error(&error);
        return Error{EINVAL, "not JSON: " + why};
    }
    return Json(node);
}

bool Json::is_string() const { return holds(node_, G_TYPE_STRING); }
bool Json::is_integer() const { return holds(node_, G_TYPE_INT64); }

Json Json::operator[](const char* member) const {
    JsonNode* found = is_object() ? json_object_get_member(json_node_get_object(node_), member) : nullptr;
    return found != nullptr ? Json(json_node_ref(found)) : Json();
}

std::vector<std::string> Json::members() const {
    std::vector<std::string> names;
    GList* list = is_object() ? json_object_get_members(json_node_get_object(node_)) : nullptr;
    for (const GList* at = list; at != nullptr; at = at->next) {
        names.emplace_back(static_cast<const char*>(at->data));
    }
    g_list_free(list);
    return names;
}

size_t Json::size() const { return is_array() ? json_array_get_length(json_node_get_array(node_)) : 0; }

Json Json::at(size_t index) const {
    return index < size() ? Json(json_node_ref(json_array_get_element(json_node_get_array(node_), static_cast<guint>(index))))
                          : Json();
}

std::string Json::string(const std::string& fallback) const { return is_string() ? json_node_get_string(node_) : fallback; }

int64_t Json::integer(int64_t fallback) const {
    return is_integer() ? json_node_get_int(node_) : holds(node_, G_TYPE_DOUBLE) ? static_cast<int64_t>(number()) : fallback;
}

double Json::number(double fallback) const {
    return is_integer() || holds(node_, G_TYPE_DOUBLE) ? json_node_get_double(node_) : fallback;
}

bool Json::boolean(bool fallback) const { return holds(node_, G_TYPE_BOOLEAN) ? json_node_get_boolean(node_) != FALSE : fallback; }

std::string Json::text(bool pretty) const {
    if (node_ == nullptr) {
        return "null";
    }
    char* text = json_to_string(node_, pretty ? TRUE : FALSE);
    std::string result = text;
    g_free(text);
    return result;
}

JsonNode* to_node(const Json& value) { return value ? json_node_ref(value.node()) : json_node_new(JSON_NODE_NULL); }
JsonNode* to_node(const std::string& value) { return json_node_init_string(value_node(), value.c_str()); }
JsonNode* to_node(const char* value) { return json_node_init_string(value_node(), value); }
JsonNode* to_node(bool value) { return json_node_init_boolean(value_node(), value ? TRUE : FALSE); }
JsonNode* to_node(double value) { return json_node_init_double(value_node(), value); }
JsonNode* to_node(int64_t value) { return json_node_init_int(value_node(), value); }

Json JsonMap::done() {
    JsonNode* node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, std::exchange(object_, json_object_new()));
    return Json::take(node);
}

Json JsonList::done() {
    JsonNode* node = json_node_new(JSON_NODE_ARRAY);
    json_node_take_array(node, std::exchange(array_, json_array_new()));
    return Json::take(node);
}

}  // namespace predsnap
