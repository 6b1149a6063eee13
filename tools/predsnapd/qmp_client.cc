// SPDX-License-Identifier: GPL-2.0-or-later
#include "qmp_client.h"

#include <gio/gunixsocketaddress.h>

#include "block/engine/text.h"

namespace predsnap::predict {
namespace {

constexpr guint kTimeoutSeconds = 3;
constexpr int kLinesMax = 1000;  // events before an answer
constexpr char kCapabilities[] = "{\"execute\": \"qmp_capabilities\"}\n";

std::string command_line(const char* command, JsonNode* arguments) {
    JsonObject* object = json_object_new();
    json_object_set_string_member(object, "execute", command);
    json_object_set_member(object, "arguments", arguments);
    JsonNode* root = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(root, object);
    char* text = json_to_string(root, FALSE);
    std::string line = std::string(text) + "\n";
    g_free(text);
    json_node_unref(root);
    return line;
}

}  // namespace

Error QmpClient::lost(const char* what) {
    input_.reset();
    connection_.reset();
    return Error{EIO, text("%s: %.200s", path_.c_str(), what)};
}

Result<void> QmpClient::connect() {
    if (connection_) {
        return {};
    }
    const std::unique_ptr<GSocketClient, Unref> client(g_socket_client_new());
    g_socket_client_set_timeout(client.get(), kTimeoutSeconds);
    const std::unique_ptr<GSocketAddress, Unref> address(g_unix_socket_address_new(path_.c_str()));
    GError* error = nullptr;
    connection_.reset(g_socket_client_connect(client.get(), G_SOCKET_CONNECTABLE(address.get()), nullptr, &error));
    if (!connection_) {
        const Error failed = lost(error->message);
        g_error_free(error);
        return failed;
    }
    input_.reset(g_data_input_stream_new(g_io_stream_get_input_stream(G_IO_STREAM(connection_.get()))));
    TRY(send(kCapabilities));
    return answer();
}

Result<void> QmpClient::send(const std::string& line) {
    GError* error = nullptr;
    GOutputStream* output = g_io_stream_get_output_stream(G_IO_STREAM(connection_.get()));
    if (g_output_stream_write_all(output, line.data(), line.size(), nullptr, nullptr, &error) == FALSE) {
        const Error failed = lost(error->message);
        g_error_free(error);
        return failed;
    }
    return {};
}

Result<void> QmpClient::answer() {
    for (int i = 0; i < kLinesMax; ++i) {
        GError* error = nullptr;
        char* line = g_data_input_stream_read_line(input_.get(), nullptr, nullptr, &error);
        if (line == nullptr) {
            const Error failed = lost(error != nullptr ? error->message : "the connection was closed");
            g_clear_error(&error);
            return failed;
        }
        JsonNode* node = json_from_string(line, nullptr);
        g_free(line);
        if (node == nullptr || !JSON_NODE_HOLDS_OBJECT(node)) {
            g_clear_pointer(&node, json_node_unref);
            return lost("what came is not QMP");
        }
        JsonObject* object = json_node_get_object(node);
        const bool returned = json_object_has_member(object, "return") != FALSE;
        std::string refusal;
        if (json_object_has_member(object, "error")) {
            JsonObject* why = json_object_get_object_member(object, "error");
            const char* said = why != nullptr ? json_object_get_string_member_with_default(why, "desc", "") : "";
            refusal = said[0] != '\0' ? said : "refused";
        }
        json_node_unref(node);
        if (returned) {
            return {};
        }
        if (!refusal.empty()) {
            return Error{EPROTO, refusal};
        }
    }
    return lost("no answer among many events");
}

Result<void> QmpClient::execute(const char* command, JsonNode* arguments) {
    const std::string line = command_line(command, arguments);
    TRY(connect());
    TRY(send(line));
    return answer();
}

}  // namespace predsnap::predict
