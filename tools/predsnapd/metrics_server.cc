// SPDX-License-Identifier: GPL-2.0-or-later
#include "metrics_server.h"

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <libsoup/soup.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

namespace predsnap::predict {
namespace {

struct Unref {
    void operator()(void* object) const { g_object_unref(object); }
};
using Address = std::unique_ptr<GSocketAddress, Unref>;

Error wrong_address(const std::string& address) {
    return Error{EINVAL, "metrics address '" + address + "': give the path of a Unix socket, or 127.0.0.1:PORT or "
                         "[::1]:PORT; put a proxy before it to serve others"};
}

Result<Address> parse(const std::string& address) {
    if (address.starts_with('/')) {
        Address socket(g_unix_socket_address_new(address.c_str()));
        return socket;
    }
    GError* error = nullptr;
    const std::unique_ptr<GSocketConnectable, Unref> parsed(g_network_address_parse(address.c_str(), 0, &error));
    g_clear_error(&error);
    if (!parsed) {
        return wrong_address(address);
    }
    auto* network = G_NETWORK_ADDRESS(parsed.get());
    const char* host = g_network_address_get_hostname(network);
    const std::unique_ptr<GInetAddress, Unref> inet(
        g_inet_address_new_from_string(std::string(host) == "localhost" ? "127.0.0.1" : host));
    if (!inet || g_inet_address_get_is_loopback(inet.get()) == FALSE || g_network_address_get_port(network) == 0) {
        return wrong_address(address);
    }
    Address socket(g_inet_socket_address_new(inet.get(), g_network_address_get_port(network)));
    return socket;
}

bool is_served(GSocketAddress* address) {
    const std::unique_ptr<GSocketClient, Unref> client(g_socket_client_new());
    GSocketConnection* connection =
        g_socket_client_connect(client.get(), G_SOCKET_CONNECTABLE(address), nullptr, nullptr);
    const bool served = connection != nullptr;
    g_clear_object(&connection);
    return served;
}

Result<void> make_way(const std::string& path, GSocketAddress* address) {
    struct stat facts;
    if (!path.starts_with('/') || lstat(path.c_str(), &facts) != 0) {
        return {};
    }
    if (!S_ISSOCK(facts.st_mode)) {
        return Error{EEXIST, "metrics address '" + path + "' is there, and no socket: choose another path"};
    }
    if (is_served(address)) {
        return Error{EADDRINUSE, "metrics address '" + path + "' is served by another program: end it, or choose "
                                 "another path"};
    }
    unlink(path.c_str());
    return {};
}

}  // namespace

struct MetricsServer::Thread {
    std::string path;  // of the socket, if it is one
    Page page;
    GMainContext* context = g_main_context_new();
    GMainLoop* loop = g_main_loop_new(context, FALSE);
    SoupServer* server = nullptr;
    std::thread thread;

    ~Thread();
    Result<void> listen(GSocketAddress* address);
    static void answer(SoupServer*, SoupServerMessage* message, const char* path, GHashTable*, gpointer opaque);
};

MetricsServer::Thread::~Thread() {
    if (thread.joinable()) {
        g_main_loop_quit(loop);
        thread.join();
    }
    if (server != nullptr) {
        soup_server_disconnect(server);
        g_object_unref(server);
        if (!path.empty()) {
            unlink(path.c_str());
        }
    }
    g_main_loop_unref(loop);
    g_main_context_unref(context);
}

void MetricsServer::Thread::answer(SoupServer*, SoupServerMessage* message, const char* path, GHashTable*,
                                   gpointer opaque) {
    const auto* self = static_cast<Thread*>(opaque);
    const std::string method = soup_server_message_get_method(message);
    if (method != "GET" && method != "HEAD") {
        soup_server_message_set_status(message, SOUP_STATUS_METHOD_NOT_ALLOWED, nullptr);
        return;
    }
    if (std::string(path) != "/metrics") {
        constexpr char kHint[] = "predsnapd: see /metrics\n";
        soup_server_message_set_status(message, SOUP_STATUS_NOT_FOUND, nullptr);
        soup_server_message_set_response(message, "text/plain", SOUP_MEMORY_STATIC, kHint, sizeof(kHint) - 1);
        return;
    }
    const std::string page = self->page();
    soup_server_message_set_status(message, SOUP_STATUS_OK, nullptr);
    soup_server_message_set_response(message, "text/plain; version=0.0.4; charset=utf-8", SOUP_MEMORY_COPY, page.data(),
                                     page.size());
}

Result<void> MetricsServer::Thread::listen(GSocketAddress* address) {
    server = SOUP_SERVER(g_object_new(SOUP_TYPE_SERVER, "server-header", "predsnapd", nullptr));
    soup_server_add_handler(server, nullptr, answer, this, nullptr);
    GError* error = nullptr;
    if (soup_server_listen(server, address, static_cast<SoupServerListenOptions>(0), &error) == FALSE) {
        const std::string message = error->message;
        g_error_free(error);
        g_clear_object(&server);
        return Error{EADDRINUSE, "metrics cannot be served: " + message};
    }
    return {};
}

MetricsServer::MetricsServer(std::unique_ptr<Thread> thread) : thread_(std::move(thread)) {}
MetricsServer::~MetricsServer() = default;

Result<std::unique_ptr<MetricsServer>> MetricsServer::start(const std::string& address, Page page) {
    TRY_ASSIGN(const Address where, parse(address));
    TRY(make_way(address, where.get()));
    auto thread = std::make_unique<Thread>();
    thread->path = address.starts_with('/') ? address : "";
    thread->page = std::move(page);
    // What it listens with is bound to the context of this moment.
    g_main_context_push_thread_default(thread->context);
    const Result<void> listening = thread->listen(where.get());
    g_main_context_pop_thread_default(thread->context);
    TRY(listening);
    if (!thread->path.empty()) {
        chmod(thread->path.c_str(), 0660);  // a group may be given it
    }
    thread->thread = std::thread([thread = thread.get()] {
        g_main_context_push_thread_default(thread->context);
        g_main_loop_run(thread->loop);
        g_main_context_pop_thread_default(thread->context);
    });
    return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(thread)));
}

}  // namespace predsnap::predict
