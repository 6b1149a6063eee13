// SPDX-License-Identifier: GPL-2.0-or-later
//
// JSON values, held by json-glib. A Json is a reference to a value that nobody changes any more: copies are
// cheap and share it. What is absent is "nothing", which answers every question with the fallback, so that
// json["a"]["b"].integer() needs no checks on the way. One thread at a time for a value and its copies.
#pragma once

#include <json-glib/json-glib.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "block/engine/result.h"

namespace predsnap {

class Json {
  public:
    Json() = default;  // nothing
    Json(const Json& other) : node_(other.node_ != nullptr ? json_node_ref(other.node_) : nullptr) {}
    Json(Json&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
    Json& operator=(Json other) noexcept {
        std::swap(node_, other.node_);
        return *this;
    }
    ~Json() { g_clear_pointer(&node_, json_node_unref); }

    // The reference is taken over.
    static Json take(JsonNode* node);
    // Errors: EINVAL, with what is wrong and where.
    static Result<Json> parse(const std::string& text);

    explicit operator bool() const { return node_ != nullptr; }
    bool is_object() const { return node_ != nullptr && JSON_NODE_HOLDS_OBJECT(node_); }
    bool is_array() const { return node_ != nullptr && JSON_NODE_HOLDS_ARRAY(node_); }
    bool is_string() const;
    bool is_integer() const;
    // A member of an object.
    Json operator[](const char* member) const;
    std::vector<std::string> members() const;
    // Elements of an array; 0 for anything else.
    size_t size() const;
    Json at(size_t index) const;
    Json operator[](std::integral auto index) const { return at(static_cast<size_t>(index)); }

    std::string string(const std::string& fallback = "") const;
    int64_t integer(int64_t fallback = 0) const;
    double number(double fallback = 0) const;
    bool boolean(bool fallback = false) const;
    // As text; `pretty`: over several lines.
    std::string text(bool pretty = false) const;
    // For json-glib; stays this value's.
    JsonNode* node() const { return node_; }

  private:
    explicit Json(JsonNode* node) : node_(node) {}
    JsonNode* node_ = nullptr;
};

// Each kind of value as a node of its own, for the two below. Nothing becomes null.
JsonNode* to_node(const Json& value);
JsonNode* to_node(const std::string& value);
JsonNode* to_node(const char* value);
JsonNode* to_node(bool value);
JsonNode* to_node(double value);
JsonNode* to_node(int64_t value);
template <std::integral T>
    requires(!std::same_as<T, bool>)
JsonNode* to_node(T value) {
    return to_node(static_cast<int64_t>(value));
}

// JsonMap().set("name", "disk").set("size", 512).done()
class JsonMap {
  public:
    JsonMap() : object_(json_object_new()) {}
    JsonMap(JsonMap&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    ~JsonMap() { g_clear_pointer(&object_, json_object_unref); }

    template <typename T>
    JsonMap& set(const char* name, const T& value) {
        json_object_set_member(object_, name, to_node(value));
        return *this;
    }
    // Gives what was set; the map is empty then.
    Json done();
    // The map itself, for those who go on with it.
    JsonMap&& move() { return std::move(*this); }

  private:
    JsonObject* object_;
};

class JsonList {
  public:
    JsonList() : array_(json_array_new()) {}
    JsonList(JsonList&& other) noexcept : array_(std::exchange(other.array_, nullptr)) {}
    ~JsonList() { g_clear_pointer(&array_, json_array_unref); }

    template <typename T>
    JsonList& add(const T& value) {
        json_array_add_element(array_, to_node(value));
        return *this;
    }
    Json done();

  private:
    JsonArray* array_;
};

}  // namespace predsnap
