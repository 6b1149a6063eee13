// SPDX-License-Identifier: GPL-2.0-or-later
#include "client.h"

#include <gio/gunixsocketaddress.h>

#include "block/engine/text.h"

namespace predsnap::qmp {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr size_t kEventsMax = 1000;         // the oldest go
constexpr size_t kLineMax = size_t{1} << 30;
constexpr size_t kReadSize = 256 << 10;

std::string take_message(GError* error) {
    std::string message = error->message;
    g_error_free(error);
    return message;
}

std::string command_line(const std::string& command, const Json& arguments) {
    JsonMap line;
    line.set("execute", command);
    if (arguments) {
        line.set("arguments", arguments);
    }
    return line.done().text() + "\n";
}

}  // namespace

Error Client::lost(const std::string& what) {
    socket_.reset();
    buffer_.clear();
    searched_ = 0;
    return Error{EIO, text("%s: %.200s", path_.c_str(), what.c_str())};
}

Result<std::unique_ptr<Client>> Client::over(int fd, std::string name, unsigned timeout_s) {
    auto client = std::make_unique<Client>(std::move(name), timeout_s);
    GError* error = nullptr;
    GSocket* socket = g_socket_new_from_fd(fd, &error);
    if (socket == nullptr) {
        return client->lost(take_message(error));
    }
    TRY(client->take(socket));
    return client;
}

Result<void> Client::take(GSocket* socket) {
    socket_.reset(socket);
    g_socket_set_blocking(socket, TRUE);
    return greet();
}

Result<void> Client::connect() {
    if (socket_) {
        return {};
    }
    GError* error = nullptr;
    socket_.reset(g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, &error));
    if (!socket_) {
        return lost(take_message(error));
    }
    const std::unique_ptr<GSocketAddress, Unref> address(g_unix_socket_address_new(path_.c_str()));
    if (g_socket_connect(socket_.get(), address.get(), nullptr, &error) == FALSE) {
        return lost(take_message(error));
    }
    return greet();
}

Result<void> Client::greet() {
    TRY_ASSIGN(const std::optional<Json> greeting, receive(timeout_s_ * kSecond));
    if (!greeting) {
        return lost("no greeting came: is another client connected to this monitor?");
    }
    if (!(*greeting)["QMP"]) {
        return lost("what came is not QMP");
    }
    TRY(send(command_line("qmp_capabilities", {})));
    return answer().discard();
}

Result<void> Client::send(const std::string& line) {
    GError* error = nullptr;
    g_socket_set_timeout(socket_.get(), timeout_s_);
    for (size_t sent = 0; sent < line.size();) {
        const gssize wrote = g_socket_send(socket_.get(), line.data() + sent, line.size() - sent, nullptr, &error);
        if (wrote < 0) {
            return lost(take_message(error));
        }
        sent += static_cast<size_t>(wrote);
    }
    return {};
}

// Reads what there is. False: nothing came in time.
Result<bool> Client::fill(int64_t timeout_us) {
    GError* error = nullptr;
    if (g_socket_condition_timed_wait(socket_.get(), G_IO_IN, std::max<int64_t>(timeout_us, 0), nullptr, &error) == FALSE) {
        const bool late = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT) != FALSE;
        const std::string message = take_message(error);
        if (late) {
            return false;
        }
        return lost(message);
    }
    const size_t have = buffer_.size();
    buffer_.resize(have + kReadSize);
    const gssize got = g_socket_receive(socket_.get(), buffer_.data() + have, kReadSize, nullptr, &error);
    if (got <= 0) {
        return lost(got < 0 ? take_message(error) : "the connection was closed");
    }
    buffer_.resize(have + static_cast<size_t>(got));
    if (buffer_.size() > kLineMax) {
        return lost("what came is not QMP");
    }
    return true;
}

Result<std::optional<Json>> Client::receive(int64_t timeout_us) {
    const int64_t end_us = g_get_monotonic_time() + timeout_us;
    size_t newline;
    while ((newline = buffer_.find('\n', searched_)) == std::string::npos) {
        searched_ = buffer_.size();
        TRY_ASSIGN(const bool more, fill(end_us - g_get_monotonic_time()));
        if (!more) {
            return std::optional<Json>();
        }
    }
    const Result<Json> line = Json::parse(buffer_.substr(0, newline));
    buffer_.erase(0, newline + 1);
    searched_ = 0;
    if (!line.ok() || !line.value().is_object()) {
        return lost("what came is not QMP");
    }
    return std::optional<Json>(line.value());
}

Result<Json> Client::answer() {
    const int64_t end_us = g_get_monotonic_time() + timeout_s_ * kSecond;
    while (true) {
        TRY_ASSIGN(const std::optional<Json> line, receive(end_us - g_get_monotonic_time()));
        if (!line) {
            return lost(text("no answer in %u s", timeout_s_));
        }
        if (const Json value = (*line)["return"]) {
            return value;
        }
        if (const Json error = (*line)["error"]) {
            return Error{kRefused, error["desc"].string("refused")};
        }
        if ((*line)["event"]) {
            events_.push_back(*line);
            if (events_.size() > kEventsMax) {
                events_.pop_front();
            }
        }
    }
}

Result<Json> Client::execute(const std::string& command, const Json& arguments) {
    TRY(connect());
    TRY(send(command_line(command, arguments)));
    return answer();
}

Result<std::optional<Json>> Client::next_event(int64_t timeout_us) {
    TRY(connect());
    const int64_t end_us = g_get_monotonic_time() + timeout_us;
    while (events_.empty()) {
        TRY_ASSIGN(const std::optional<Json> line, receive(end_us - g_get_monotonic_time()));
        if (!line) {
            return std::optional<Json>();
        }
        if ((*line)["event"]) {
            events_.push_back(*line);
        }
    }
    std::optional<Json> event = events_.front();
    events_.pop_front();
    return event;
}

}  // namespace predsnap::qmp
