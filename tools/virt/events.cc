// SPDX-License-Identifier: GPL-2.0-or-later
#include "events.h"

#include <libvirt/libvirt-qemu.h>

namespace predsnap::virt {
namespace {

void came(virConnectPtr, virDomainPtr domain, const char* name, long long seconds, unsigned int micros,
          const char* details, void* queue) {
    auto* event = new MonitorEvent{.domain = virDomainGetName(domain), .name = name, .time_us = seconds * 1000000 + micros, .data = {}};
    if (details != nullptr) {
        const Result<Json> data = Json::parse(details);
        event->data = data.ok() ? data.value() : Json();
    }
    g_async_queue_push(static_cast<GAsyncQueue*>(queue), event);
}

}  // namespace

Result<void> run_event_loop() {
    if (virEventRegisterDefaultImpl() < 0) {
        return failed("libvirt's event loop");
    }
    g_thread_unref(g_thread_new(
        "libvirt-events",
        [](void*) -> void* {
            while (virEventRunDefaultImpl() >= 0) {
            }
            return nullptr;
        },
        nullptr));
    return {};
}

MonitorEvents::MonitorEvents(Connection connection)
    : connection_(std::move(connection)),
      queue_(g_async_queue_new_full([](gpointer event) { delete static_cast<MonitorEvent*>(event); })) {}

Result<std::unique_ptr<MonitorEvents>> MonitorEvents::watch(const Connection& connection, const Domain* domain,
                                                            const std::string& pattern) {
    std::unique_ptr<MonitorEvents> events(new MonitorEvents(connection));
    events->id_ = virConnectDomainQemuMonitorEventRegister(
        connection.get(), domain != nullptr ? domain->get() : nullptr, pattern.c_str(), came,
        g_async_queue_ref(events->queue_), [](void* queue) { g_async_queue_unref(static_cast<GAsyncQueue*>(queue)); },
        VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX);
    if (events->id_ < 0) {
        g_async_queue_unref(events->queue_);  // libvirt's, which it did not take
        return failed("events of " + (domain != nullptr ? "domain '" + domain->name() + "'" : connection.uri()));
    }
    return events;
}

MonitorEvents::~MonitorEvents() {
    if (id_ >= 0) {
        virConnectDomainQemuMonitorEventDeregister(connection_.get(), id_);
    }
    g_async_queue_unref(queue_);
}

std::optional<MonitorEvent> MonitorEvents::next(int64_t timeout_us) {
    void* taken = timeout_us > 0 ? g_async_queue_timeout_pop(queue_, static_cast<guint64>(timeout_us))
                                 : g_async_queue_try_pop(queue_);
    const std::unique_ptr<MonitorEvent> event(static_cast<MonitorEvent*>(taken));
    return event ? std::optional<MonitorEvent>(std::move(*event)) : std::nullopt;
}

}  // namespace predsnap::virt
