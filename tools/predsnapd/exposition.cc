// SPDX-License-Identifier: GPL-2.0-or-later
#include "exposition.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "block/engine/text.h"

namespace predsnap::predict {
namespace {

struct Label {
    const char* name;
    std::string value;
};
using Labels = std::vector<Label>;

std::string escaped(const std::string& value) {
    std::string out;
    for (const char c : value) {
        out += c == '\\' ? "\\\\" : c == '"' ? "\\\"" : c == '\n' ? "\\n" : std::string(1, c);
    }
    return out;
}

std::string number(double value) {
    return value == std::floor(value) && std::abs(value) < 1e15 ? text("%.0f", value) : text("%.9g", value);
}

double seconds(int64_t us) { return static_cast<double>(us) * 1e-6; }

// Writes families one after the other: Prometheus wants all samples of one together.
class Page {
  public:
    void family(const char* name, const char* type, const char* help) {
        name_ = name;
        text_ += std::string("# HELP ") + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
    }
    void sample(const Labels& labels, double value) {
        text_ += name_;
        for (size_t i = 0; i < labels.size(); ++i) {
            text_ += (i == 0 ? "{" : ",") + std::string(labels[i].name) + "=\"" + escaped(labels[i].value) + "\"";
        }
        text_ += (labels.empty() ? " " : "} ") + number(value) + "\n";
    }
    std::string take() { return std::move(text_); }

  private:
    std::string text_;
    const char* name_ = "";
};

Labels of(const DiskReport& disk) { return {{"disk", disk.name}}; }

Labels with(const DiskReport& disk, const char* name, const std::string& value) {
    Labels labels = of(disk);
    labels.push_back({name, value});
    return labels;
}

// --- simple families: a value a disk ---

struct DiskFamily {
    const char *name, *type, *help;
    double (*value)(const DiskReport&);
};

// Of predsnapd's own work.
constexpr DiskFamily kDaemonFamilies[] = {
    {"predsnap_up", "gauge", "Whether QEMU answered the last question about the disk.",
     [](const DiskReport& disk) { return disk.answers ? 1.0 : 0.0; }},
    {"predsnap_log_readable", "gauge", "Whether the access log could be read.",
     [](const DiskReport& disk) { return disk.log_error.empty() ? 1.0 : 0.0; }},
    {"predsnap_log_records_total", "counter", "Requests read from the access log.",
     [](const DiskReport& disk) { return static_cast<double>(disk.records); }},
    {"predsnap_log_dropped_total", "counter", "Requests that the driver could not record.",
     [](const DiskReport& disk) { return static_cast<double>(disk.dropped); }},
    {"predsnap_trainings_total", "counter", "Trainings of the disk's models.",
     [](const DiskReport& disk) { return static_cast<double>(disk.trainings); }},
    {"predsnap_last_training_timestamp_seconds", "gauge", "When the last training ended; 0: there was none.",
     [](const DiskReport& disk) { return seconds(disk.trained_us); }},
    {"predsnap_last_training_duration_seconds", "gauge", "How long the last training took.",
     [](const DiskReport& disk) { return disk.training_s; }},
    {"predsnap_predictions_sent_total", "counter", "Sets of predictions that QEMU took.",
     [](const DiskReport& disk) { return static_cast<double>(disk.told); }},
    {"predsnap_predictions_failed_total", "counter", "Sets of predictions that QEMU refused, or did not get.",
     [](const DiskReport& disk) { return static_cast<double>(disk.refused); }},
    {"predsnap_predictions_spared_total", "counter", "Sets of predictions that would have changed hardly anything.",
     [](const DiskReport& disk) { return static_cast<double>(disk.spared); }},
    {"predsnap_points_seen_total", "counter", "Points made while predsnapd watched.",
     [](const DiskReport& disk) { return static_cast<double>(disk.points.points); }},
    {"predsnap_changed_bytes_total", "counter", "Bytes changed from point to point while predsnapd watched.",
     [](const DiskReport& disk) { return static_cast<double>(disk.points.bytes_changed); }},
    {"predsnap_changed_chunks_total", "counter", "64 KiB chunks changed from point to point while predsnapd watched.",
     [](const DiskReport& disk) { return static_cast<double>(disk.points.chunks_changed); }},
};

template <uint64_t NodeFacts::* member>
double node_count(const DiskReport& disk) {
    return static_cast<double>(disk.node_facts.*member);
}
template <uint64_t StagingFacts::* member>
double staging_count(const DiskReport& disk) {
    return static_cast<double>(disk.node_facts.staging.*member);
}
template <bool NodeFacts::* member>
double node_flag(const DiskReport& disk) {
    return disk.node_facts.*member ? 1.0 : 0.0;
}

double history_depth(const DiskReport& disk) {
    const NodeFacts& facts = disk.node_facts;
    return facts.oldest_us == 0 ? 0 : seconds(facts.newest_us - facts.oldest_us);
}

// Of what QEMU said last; predsnap_status_age_seconds tells how long ago that was.
constexpr DiskFamily kNodeFamilies[] = {
    {"predsnap_disk_size_bytes", "gauge", "Size of the virtual disk.", node_count<&NodeFacts::size_bytes>},
    {"predsnap_image_size_bytes", "gauge", "Length of the image.", node_count<&NodeFacts::image_bytes>},
    {"predsnap_map_memory_bytes", "gauge", "RAM that the map of the disk takes.", node_count<&NodeFacts::map_bytes>},
    {"predsnap_history_depth_seconds", "gauge", "From the oldest point that can be gone back to, to the newest.",
     history_depth},
    {"predsnap_history_oldest_timestamp_seconds", "gauge", "The oldest point that can be gone back to.",
     [](const DiskReport& disk) { return seconds(disk.node_facts.oldest_us); }},
    {"predsnap_history_newest_timestamp_seconds", "gauge", "The newest point.",
     [](const DiskReport& disk) { return seconds(disk.node_facts.newest_us); }},
    {"predsnap_snapshots", "gauge", "Snapshots that there are.", node_count<&NodeFacts::snapshots>},
    {"predsnap_branches", "gauge", "Branches of the history: rollbacks, and one.", node_count<&NodeFacts::branches>},
    {"predsnap_views", "gauge", "Views of earlier states that are open.", node_count<&NodeFacts::views>},
    {"predsnap_points_total", "counter", "Points made since the image was opened.", node_count<&NodeFacts::points>},
    {"predsnap_rollbacks_total", "counter", "Rollbacks since the image was opened.",
     node_count<&NodeFacts::rollbacks>},
    {"predsnap_coalescing_debt_bytes", "gauge", "History that is to go, or to be put into streams, and still takes space.",
     node_count<&NodeFacts::debt_bytes>},
    {"predsnap_log_written_bytes_total", "counter", "Bytes appended to the log.", node_count<&NodeFacts::log_bytes>},
    {"predsnap_sealed_bytes_total", "counter", "Data put into streams.", node_count<&NodeFacts::sealed_bytes>},
    {"predsnap_cleaned_segments_total", "counter", "Segments that were cleaned.",
     node_count<&NodeFacts::cleaned_segments>},
    {"predsnap_staging_size_bytes", "gauge", "Most that the staging cache may take.",
     staging_count<&StagingFacts::size_bytes>},
    {"predsnap_staging_used_bytes", "gauge", "Copies of blocks in the staging cache.",
     staging_count<&StagingFacts::used_bytes>},
    {"predsnap_staging_memory_bytes", "gauge", "RAM taken for them.", staging_count<&StagingFacts::memory_bytes>},
    {"predsnap_staging_hits_total", "counter", "Blocks looked for in the staging cache and found.",
     staging_count<&StagingFacts::hits>},
    {"predsnap_staging_misses_total", "counter", "Blocks looked for in the staging cache and not found.",
     staging_count<&StagingFacts::misses>},
    {"predsnap_staging_evictions_total", "counter", "Copies dropped to make room.",
     staging_count<&StagingFacts::evictions>},
    {"predsnap_staging_refused_total", "counter", "Blocks not taken in.", staging_count<&StagingFacts::refused>},
    {"predsnap_threshold_ratio", "gauge", "Relevance from which on blocks are staged.",
     [](const DiskReport& disk) { return disk.node_facts.threshold; }},
    {"predsnap_predictions_serving", "gauge", "Whether predictions decide, not the built-in rules.",
     node_flag<&NodeFacts::predictions_serve>},
    {"predsnap_predictions_accepted_total", "counter", "Sets of predictions that the node took.",
     node_count<&NodeFacts::predictions_accepted>},
    {"predsnap_predictions_refused_total", "counter", "Sets of predictions that the node refused.",
     node_count<&NodeFacts::predictions_refused>},
    {"predsnap_predictions_expired_total", "counter", "Times that predictions ended before others came.",
     node_count<&NodeFacts::predictions_expired>},
    {"predsnap_corrupt", "gauge", "Whether corruption was found since the image was opened.",
     node_flag<&NodeFacts::corrupt>},
    {"predsnap_checksum_errors_total", "counter", "Checksums that did not match.",
     node_count<&NodeFacts::checksum_errors>},
    {"predsnap_append_errors_total", "counter", "Appends to the log that failed.",
     node_count<&NodeFacts::append_errors>},
};

bool has_answered(const DiskReport& disk) { return disk.answered_us != 0; }

void write_all(Page& page, const std::vector<DiskReport>& disks, const DiskFamily& family,
               bool (*counts)(const DiskReport&)) {
    page.family(family.name, family.type, family.help);
    for (const DiskReport& disk : disks) {
        if (counts(disk)) {
            page.sample(of(disk), family.value(disk));
        }
    }
}

// --- families with more labels ---

void write_info(Page& page, const std::vector<DiskReport>& disks, int64_t now_us) {
    page.family("predsnap_disk_info", "gauge", "Which disk it is, and how its QEMU is reached. Always 1.");
    for (const DiskReport& disk : disks) {
        page.sample({{"disk", disk.name}, {"domain", disk.domain}, {"node", disk.node}, {"monitor", disk.way},
                     {"uuid", disk.node_facts.uuid}, {"model", disk.node_facts.model}}, 1);
    }
    page.family("predsnap_status_age_seconds", "gauge", "How long ago QEMU said what is known of the disk.");
    for (const DiskReport& disk : disks) {
        if (has_answered(disk)) {
            page.sample(of(disk), seconds(now_us - disk.answered_us));
        }
    }
    page.family("predsnap_history_window_seconds", "gauge", "History asked for (cdp-window); absent if all is kept.");
    for (const DiskReport& disk : disks) {
        if (disk.node_facts.window_s) {
            page.sample(of(disk), static_cast<double>(*disk.node_facts.window_s));
        }
    }
    page.family("predsnap_history_limit_bytes", "gauge", "Most that history may take (cdp-bytes); absent without limit.");
    for (const DiskReport& disk : disks) {
        if (disk.node_facts.window_bytes) {
            page.sample(of(disk), static_cast<double>(*disk.node_facts.window_bytes));
        }
    }
}

struct TierFamily {
    const char *name, *help;
    double (*value)(const TierFacts&);
};
constexpr TierFamily kTierFamilies[] = {
    {"predsnap_tier_size_bytes", "Length of the tier's image.",
     [](const TierFacts& tier) { return static_cast<double>(tier.size_bytes); }},
    {"predsnap_tier_used_bytes", "Bytes of its segments that are in use.",
     [](const TierFacts& tier) { return static_cast<double>(tier.used_bytes); }},
    {"predsnap_tier_stream_bytes", "Data in streams there, in bytes of the guest's.",
     [](const TierFacts& tier) { return static_cast<double>(tier.stream_bytes); }},
    {"predsnap_tier_streams", "Streams there.", [](const TierFacts& tier) { return static_cast<double>(tier.streams); }},
    {"predsnap_tier_attached", "Whether the node has the tier.",
     [](const TierFacts& tier) { return tier.attached ? 1.0 : 0.0; }},
    {"predsnap_tier_full", "Whether the tier could not grow when it last was to.",
     [](const TierFacts& tier) { return tier.full ? 1.0 : 0.0; }},
};

void write_tiers(Page& page, const std::vector<DiskReport>& disks) {
    for (const TierFamily& family : kTierFamilies) {
        page.family(family.name, "gauge", family.help);
        for (const DiskReport& disk : disks) {
            for (const TierFacts& tier : disk.node_facts.tiers) {
                page.sample(with(disk, "tier", tier.name), family.value(tier));
            }
        }
    }
}

void write_space(Page& page, const std::vector<DiskReport>& disks) {
    page.family("predsnap_tier_available_bytes", "gauge", "Left on the file system that holds the tier's image.");
    for (const DiskReport& disk : disks) {
        for (const TierFacts& tier : disk.node_facts.tiers) {
            if (tier.available_bytes) {
                page.sample(with(disk, "tier", tier.name), static_cast<double>(*tier.available_bytes));
            }
        }
    }
}

struct JudgedFamily {
    const char *name, *help;
    double JudgedFacts::* value;
};
constexpr JudgedFamily kJudgedFamilies[] = {
    {"predsnap_prediction_precision_ratio", "Of chunks predicted, those that were used; as the driver judged last.",
     &JudgedFacts::precision},
    {"predsnap_prediction_recall_ratio", "Of chunks used, those that were predicted; as the driver judged last.",
     &JudgedFacts::recall},
    {"predsnap_prediction_brier_score", "Mean square error of the probabilities; as the driver judged last.",
     &JudgedFacts::brier},
};

void write_quality(Page& page, const std::vector<DiskReport>& disks) {
    for (const JudgedFamily& family : kJudgedFamilies) {
        page.family(family.name, "gauge", family.help);
        for (const DiskReport& disk : disks) {
            for (const bool writes : {true, false}) {
                const JudgedFacts& judged = writes ? disk.node_facts.judged_writes : disk.node_facts.judged_reads;
                if (judged.*family.value >= 0) {
                    page.sample(with(disk, "op", writes ? "write" : "read"), judged.*family.value);
                }
            }
        }
    }
    struct StandingFamily {
        const char *name, *help;
        double (*value)(const Standing&);
    };
    constexpr StandingFamily kFamilies[] = {
        {"predsnap_average_precision_ratio", "Average precision of what is served, on the newest moments.",
         [](const Standing& standing) { return standing.served; }},
        {"predsnap_baseline_average_precision_ratio", "Average precision of the best heuristic, on the same moments.",
         [](const Standing& standing) { return standing.baseline; }},
        {"predsnap_model_serving", "Whether the model serves; else a heuristic does.",
         [](const Standing& standing) { return standing.model_serves ? 1.0 : 0.0; }},
    };
    for (const StandingFamily& family : kFamilies) {
        page.family(family.name, "gauge", family.help);
        for (const DiskReport& disk : disks) {
            for (const Standing& standing : disk.standings) {
                if (family.value(standing) >= 0) {
                    page.sample(with(disk, "target", standing.target), family.value(standing));
                }
            }
        }
    }
}

// --- the daemon ---

double resident_bytes() {
    unsigned long long total = 0, resident = 0;
    FILE* file = std::fopen("/proc/self/statm", "re");
    const bool read = file != nullptr && std::fscanf(file, "%llu %llu", &total, &resident) == 2;
    if (file != nullptr) {
        std::fclose(file);
    }
    return read ? static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) : 0;
}

void write_daemon(Page& page, const Board::Copy& board, int64_t now_us) {
    const DaemonReport& daemon = board.daemon;
    const auto one = [&](const char* name, const char* type, const char* help, double value) {
        page.family(name, type, help);
        page.sample({}, value);
    };
    page.family("predsnapd_build_info", "gauge", "Which predsnapd it is. Always 1.");
    page.sample({{"version", PREDSNAP_VERSION}}, 1);
    one("predsnapd_disks", "gauge", "Disks that are watched.", static_cast<double>(board.disks.size()));
    one("predsnapd_start_time_seconds", "gauge", "When predsnapd began.", seconds(daemon.started_us));
    one("predsnapd_tick_age_seconds", "gauge", "Since the last tick: large if predsnapd hangs.",
        daemon.ticked_us == 0 ? 0 : seconds(now_us - daemon.ticked_us));
    one("predsnapd_resident_memory_bytes", "gauge", "RAM that predsnapd takes.", resident_bytes());
    one("predsnapd_reloads_total", "counter", "Times the configuration was read again.",
        static_cast<double>(daemon.reloads));
    one("predsnapd_configuration_errors", "gauge", "Configuration and drop-in files, and domains, that cannot be used.",
        static_cast<double>(daemon.source_errors));
    if (daemon.libvirt_asked) {
        one("predsnapd_libvirt_connected", "gauge", "Whether there is a connection to libvirt.",
            daemon.libvirt_connected ? 1 : 0);
    }
}

}  // namespace

std::string exposition(const Board::Copy& board, int64_t now_us) {
    Page page;
    write_daemon(page, board, now_us);
    write_info(page, board.disks, now_us);
    for (const DiskFamily& family : kDaemonFamilies) {
        write_all(page, board.disks, family, [](const DiskReport&) { return true; });
    }
    for (const DiskFamily& family : kNodeFamilies) {
        write_all(page, board.disks, family, has_answered);
    }
    write_tiers(page, board.disks);
    write_space(page, board.disks);
    write_quality(page, board.disks);
    return page.take();
}

}  // namespace predsnap::predict
