// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvirt_disks.h"

#include <glib.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <thread>

#include "domain_disks.h"
#include "tools/virt/connection.h"
#include "tools/virt/events.h"

namespace predsnap::predict {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kBackoffMax{30};
// What comes together is looked at together.
constexpr milliseconds kSettle{200};
// A connection whose other end says nothing for so long is given up.
constexpr int kKeepAliveS = 5;
constexpr unsigned kKeepAlives = 4;

}  // namespace

// The threads', too: the follower's, those of monitors, and libvirt's own for events.
struct LibvirtDisks::Shared : std::enable_shared_from_this<Shared> {
    std::string uri;
    mutable std::mutex mutex;
    std::condition_variable wake;
    bool ended = false, look = false, lost = false;
    std::optional<virt::Connection> connection;
    LibvirtState state;
    std::function<void()> changed;  // the main loop's thread alone

    void follow();
    void follow_one(const virt::Connection& connection);
    LibvirtState look_at_all(const virt::Connection& connection) const;
    void publish(LibvirtState next);
    // Waits for so long, or until something wants attention. False: it is over.
    bool wait(std::unique_lock<std::mutex>& lock, milliseconds time);
    std::shared_ptr<Shared>* own() { return new std::shared_ptr<Shared>(shared_from_this()); }
    static Shared& of(void* opaque) { return **static_cast<std::shared_ptr<Shared>*>(opaque); }
    static void on_close(virConnectPtr, int, void* opaque) { of(opaque).mark(&Shared::lost); }
    static void disown(void* opaque) { delete static_cast<std::shared_ptr<Shared>*>(opaque); }
    void mark(bool Shared::* what) {
        const std::lock_guard lock(mutex);
        this->*what = true;
        wake.notify_all();
    }
};

bool LibvirtDisks::Shared::wait(std::unique_lock<std::mutex>& lock, milliseconds time) {
    wake.wait_for(lock, time, [&] { return ended || look || lost; });
    return !ended;
}

void LibvirtDisks::Shared::publish(LibvirtState next) {
    {
        const std::lock_guard lock(mutex);
        if (ended || (next.connected == state.connected && next.disks == state.disks && next.errors == state.errors)) {
            return;
        }
        state = std::move(next);
    }
    g_idle_add([](void* opaque) -> gboolean {
        if (const auto& changed = of(opaque).changed) {
            changed();
        }
        disown(opaque);
        return G_SOURCE_REMOVE;
    }, own());
}

LibvirtState LibvirtDisks::Shared::look_at_all(const virt::Connection& connection) const {
    LibvirtState next{.connected = true, .disks = {}, .errors = {}};
    const Result<std::vector<virt::Domain>> domains = connection.domains();
    if (!domains.ok()) {
        const std::lock_guard lock(mutex);
        return state;  // the connection is about to be lost
    }
    for (const virt::Domain& domain : domains.value()) {
        if (!domain.active()) {
            continue;
        }
        const Result<std::string> xml = domain.xml(virt::Xml::live);
        if (!xml.ok()) {
            continue;  // it has ended meanwhile
        }
        const auto disks = disks_of_domain(domain.name(), xml.value());
        if (disks.ok()) {
            next.disks.insert(next.disks.end(), disks.value().begin(), disks.value().end());
        } else {
            next.errors.push_back(disks.error().message);
        }
    }
    std::sort(next.disks.begin(), next.disks.end(),
              [](const DiskConfig& a, const DiskConfig& b) { return a.name < b.name; });
    return next;
}

// Until the connection is lost, or all is over.
void LibvirtDisks::Shared::follow_one(const virt::Connection& connection) {
    virConnectSetKeepAlive(connection.get(), kKeepAliveS, kKeepAlives);
    virConnectRegisterCloseCallback(connection.get(), on_close, own(), disown);
    const auto on_lifecycle = [](virConnectPtr, virDomainPtr, int, int, void* opaque) -> int {
        of(opaque).mark(&Shared::look);
        return 0;
    };
    const auto on_metadata = [](virConnectPtr, virDomainPtr, int, const char*, void* opaque) {
        of(opaque).mark(&Shared::look);
    };
    const int lifecycle = virConnectDomainEventRegisterAny(
        connection.get(), nullptr, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        VIR_DOMAIN_EVENT_CALLBACK(static_cast<virConnectDomainEventCallback>(on_lifecycle)), own(), disown);
    const int metadata = virConnectDomainEventRegisterAny(
        connection.get(), nullptr, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
        VIR_DOMAIN_EVENT_CALLBACK(static_cast<virConnectDomainEventMetadataChangeCallback>(on_metadata)), own(), disown);

    std::unique_lock lock(mutex);
    while (!ended && !lost) {
        look = false;
        lock.unlock();
        publish(look_at_all(connection));
        lock.lock();
        wake.wait(lock, [&] { return ended || look || lost; });
        if (!ended && !lost) {
            lock.unlock();
            std::this_thread::sleep_for(kSettle);
            lock.lock();
        }
    }
    lock.unlock();
    for (const int id : {lifecycle, metadata}) {
        if (id >= 0) {
            virConnectDomainEventDeregisterAny(connection.get(), id);
        }
    }
    virConnectUnregisterCloseCallback(connection.get(), on_close);
}

void LibvirtDisks::Shared::follow() {
    milliseconds backoff{1000};
    std::string said;
    std::unique_lock lock(mutex);
    while (!ended) {
        lost = look = false;
        lock.unlock();
        Result<virt::Connection> opened = virt::Connection::open(uri);
        const std::string wrong = opened.ok() ? "" : opened.error().message;
        if (wrong != said) {
            std::fprintf(stderr, "predsnapd: %s\n", wrong.empty() ? "libvirt can be reached again" : wrong.c_str());
            said = wrong;
        }
        if (opened.ok()) {
            backoff = milliseconds{1000};
            lock.lock();
            connection = opened.value();
            lock.unlock();
            follow_one(opened.value());
            lock.lock();
            connection.reset();
            LibvirtState next = state;
            next.connected = false;
            const bool over = ended;
            lock.unlock();
            if (!over) {
                publish(std::move(next));
                std::fprintf(stderr, "predsnapd: libvirt is gone; its domains are watched on\n");
                said = "gone";
            }
        }
        lock.lock();
        lost = false;
        wait(lock, backoff);
        backoff = std::min<milliseconds>(backoff * 2, kBackoffMax);
    }
}

// Looks the domain up each time: it may be another process since, or another libvirtd.
class LibvirtDisks::Monitor : public qmp::Monitor {
  public:
    Monitor(std::shared_ptr<Shared> shared, std::string domain)
        : shared_(std::move(shared)), domain_(std::move(domain)) {}
    Result<Json> execute(const std::string& command, const Json& arguments) override {
        std::optional<virt::Connection> connection;
        {
            const std::lock_guard lock(shared_->mutex);
            connection = shared_->connection;
        }
        if (!connection) {
            return Error{ENOTCONN, "domain '" + domain_ + "': libvirt cannot be reached"};
        }
        TRY_ASSIGN(const virt::Domain domain, connection->find(domain_));
        return domain.monitor(command, arguments);
    }

  private:
    const std::shared_ptr<Shared> shared_;
    const std::string domain_;
};

LibvirtDisks::LibvirtDisks(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

Result<std::unique_ptr<LibvirtDisks>> LibvirtDisks::watch(const std::string& uri, std::function<void()> changed) {
    TRY(virt::run_event_loop());
    auto shared = std::make_shared<Shared>();
    shared->uri = uri;
    shared->changed = std::move(changed);
    std::thread([shared] { shared->follow(); }).detach();
    return std::unique_ptr<LibvirtDisks>(new LibvirtDisks(std::move(shared)));
}

LibvirtDisks::~LibvirtDisks() {
    shared_->changed = nullptr;
    shared_->mark(&Shared::ended);
}

LibvirtState LibvirtDisks::state() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->state;
}

void LibvirtDisks::look_again() { shared_->mark(&Shared::look); }

std::function<std::unique_ptr<qmp::Monitor>()> LibvirtDisks::opener(const std::string& domain) const {
    return [shared = shared_, domain] { return std::make_unique<Monitor>(shared, domain); };
}

}  // namespace predsnap::predict
