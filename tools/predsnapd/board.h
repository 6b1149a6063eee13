// SPDX-License-Identifier: GPL-2.0-or-later
//
// Where all that is known of the disks is put up: by the daemon, and by those who speak with QEMU; and read
// by who serves the metrics. From any thread; nobody holds it for longer than a copy takes.
#pragma once

#include <glib.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "node_facts.h"

namespace predsnap::predict {

// Average precision on the newest moments; below 0: not judged.
struct Standing {
    std::string target;  // "write-60"
    double served = -1;  // of the method that serves
    double baseline = -1;  // of the best heuristic
    bool model_serves = false;
};

struct DiskReport {
    std::string name, domain, node;
    std::string way;  // how its QEMU is reached: "socket", "libvirt", or "none"
    // Of the access log.
    uint64_t records = 0, dropped = 0;
    std::string log_error;     // empty: it could be read
    // Of the training.
    uint64_t trainings = 0;
    int64_t trained_us = 0;    // when the last one ended, since the epoch; 0: none yet
    double training_s = 0;     // how long it took
    std::vector<Standing> standings;
    // What QEMU was told.
    uint64_t told = 0, refused = 0, spared = 0;  // spared: not worth telling
    std::string tell_error;    // why it did not take the last ones
    // What QEMU said.
    NodeFacts node_facts;
    PointSums points;
    std::string image;         // the file of the fast tier; empty: not known
    int64_t answered_us = 0;   // when it did last, g_get_monotonic_time(); 0: never
    bool answers = false;      // to the last question
    std::string error;         // why not
};

struct DaemonReport {
    int64_t started_us = 0;    // since the epoch
    int64_t ticked_us = 0;     // the last tick, g_get_monotonic_time()
    uint64_t reloads = 0;
    uint64_t source_errors = 0;  // drop-in files, domains, that could not be used
    bool libvirt_asked = false, libvirt_connected = false;
};

class Board {
  public:
    void put_daemon(const std::function<void(DaemonReport&)>& change) {
        const std::lock_guard lock(mutex_);
        change(daemon_);
    }
    // Of a disk that was added; of another one nothing happens.
    void put(const std::string& disk, const std::function<void(DiskReport&)>& change) {
        const std::lock_guard lock(mutex_);
        if (const auto found = disks_.find(disk); found != disks_.end()) {
            change(found->second);
        }
    }
    // Also replaces what is known of one that is there already, but for counters.
    void add(const std::string& disk, const std::string& domain, const std::string& node, const std::string& way) {
        const std::lock_guard lock(mutex_);
        DiskReport& report = disks_[disk];
        report.name = disk;
        report.domain = domain;
        report.node = node;
        report.way = way;
    }
    // Takes all others off.
    void keep(const std::function<bool(const std::string& disk)>& wanted) {
        const std::lock_guard lock(mutex_);
        std::erase_if(disks_, [&](const auto& entry) { return !wanted(entry.first); });
    }
    // Nothing is known of one that was not added.
    DiskReport find(const std::string& disk) const {
        const std::lock_guard lock(mutex_);
        const auto found = disks_.find(disk);
        return found == disks_.end() ? DiskReport() : found->second;
    }
    DaemonReport copy_daemon() const {
        const std::lock_guard lock(mutex_);
        return daemon_;
    }
    struct Copy {
        DaemonReport daemon;
        std::vector<DiskReport> disks;  // by name
    };
    Copy copy() const {
        const std::lock_guard lock(mutex_);
        Copy copy{daemon_, {}};
        for (const auto& [name, report] : disks_) {
            copy.disks.push_back(report);
        }
        return copy;
    }

  private:
    mutable std::mutex mutex_;
    DaemonReport daemon_;
    std::map<std::string, DiskReport> disks_;
};

}  // namespace predsnap::predict
