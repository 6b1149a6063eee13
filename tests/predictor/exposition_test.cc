// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/predsnapd/exposition.h"

#include <gtest/gtest.h>

namespace predsnap::predict {
namespace {

Json json(const char* text) {
    Result<Json> parsed = Json::parse(text);
    EXPECT_TRUE(parsed.ok());
    return parsed.ok() ? parsed.take() : Json();
}

bool has_line(const std::string& page, const std::string& line) {
    return ("\n" + page).find("\n" + line + "\n") != std::string::npos;
}

TEST(Exposition, LabelsAreEscaped) {
    Board board;
    board.add("a \"b\"\\\nc", "d", "n", "socket");
    const std::string page = exposition(board.copy(), 0);
    EXPECT_TRUE(has_line(page, R"(predsnap_up{disk="a \"b\"\\\nc"} 0)")) << page;
}

TEST(Exposition, WhatQemuNeverSaidIsLeftOut) {
    Board board;
    board.add("d", "", "", "none");
    const std::string page = exposition(board.copy(), 0);
    EXPECT_TRUE(has_line(page, R"(predsnap_log_records_total{disk="d"} 0)")) << page;
    EXPECT_EQ(page.find("predsnap_corrupt{"), std::string::npos);
    EXPECT_EQ(page.find("predsnap_status_age_seconds{"), std::string::npos);
    EXPECT_EQ(page.find("predsnap_history_window_seconds{"), std::string::npos);
}

TEST(Exposition, WhatANodeSaysIsThere) {
    Board board;
    board.add("d", "dom", "disk0", "libvirt");
    board.put("d", [](DiskReport& report) {
        report.node_facts = to_node_facts(json(R"({"uuid": "u", "size": 1024, "segment-size": 8, "oldest-point": 1000000,
            "newest-point": 3500000, "corrupt": true, "snapshots": [{}, {}], "segments": {"leaving": 3},
            "history": {"cdp-window": 60, "cdp-bytes": 5}, "threshold": {"value": 0.05},
            "tiers": [{"tier": "fast", "used": 7, "full": true}, {"tier": "capacity", "attached": false}],
            "prediction": {"source": "predictions", "judged": {"writes": {"precision": 0.5, "recall": 0.25, "brier": 0.1},
                                                              "reads": {"brier": 0}}}})"));
        report.answered_us = 10000000;
        report.standings = {{.target = "write-60", .served = 0.5, .baseline = 0.25, .model_serves = true},
                            {.target = "read-60", .served = -1, .baseline = -1, .model_serves = false}};
    });
    const std::string page = exposition(board.copy(), 12500000);
    for (const char* line : {
             R"(predsnap_status_age_seconds{disk="d"} 2.5)",
             R"(predsnap_history_depth_seconds{disk="d"} 2.5)",
             R"(predsnap_history_window_seconds{disk="d"} 60)",
             R"(predsnap_history_limit_bytes{disk="d"} 5)",
             R"(predsnap_coalescing_debt_bytes{disk="d"} 24)",
             R"(predsnap_snapshots{disk="d"} 2)",
             R"(predsnap_corrupt{disk="d"} 1)",
             R"(predsnap_tier_used_bytes{disk="d",tier="fast"} 7)",
             R"(predsnap_tier_full{disk="d",tier="fast"} 1)",
             R"(predsnap_tier_attached{disk="d",tier="capacity"} 0)",
             R"(predsnap_predictions_serving{disk="d"} 1)",
             R"(predsnap_prediction_precision_ratio{disk="d",op="write"} 0.5)",
             R"(predsnap_prediction_brier_score{disk="d",op="read"} 0)",
             R"(predsnap_average_precision_ratio{disk="d",target="write-60"} 0.5)",
             R"(predsnap_baseline_average_precision_ratio{disk="d",target="write-60"} 0.25)",
             R"(predsnap_disk_info{disk="d",domain="dom",node="disk0",monitor="libvirt",uuid="u",model=""} 1)",
         }) {
        EXPECT_TRUE(has_line(page, line)) << line << " in\n" << page;
    }
    EXPECT_EQ(page.find(R"(predsnap_prediction_precision_ratio{disk="d",op="read"})"), std::string::npos);
    EXPECT_EQ(page.find(R"(predsnap_average_precision_ratio{disk="d",target="read-60"})"), std::string::npos);
}

TEST(Exposition, PointsAreCountedOnce) {
    PointSums sums;
    NodeFacts facts;
    facts.newest_us = 50;
    EXPECT_FALSE(has_new_points(facts, sums));
    add_points(facts, json("[]"), sums);
    EXPECT_EQ(sums.points, 0u);  // what was before is not ours
    EXPECT_FALSE(has_new_points(facts, sums));
    facts.newest_us = 80;
    EXPECT_TRUE(has_new_points(facts, sums));
    const Json answer = json(R"([{"sequence": 5, "time": 50, "bytes-changed": 1000, "chunks-changed": 10},
                                 {"sequence": 8, "time": 80, "bytes-changed": 7, "chunks-changed": 1}])");
    add_points(facts, answer, sums);
    EXPECT_FALSE(has_new_points(facts, sums));
    add_points(facts, answer, sums);
    add_points(facts, json("[]"), sums);
    EXPECT_EQ(sums.points, 1u);
    EXPECT_EQ(sums.bytes_changed, 7u);
    EXPECT_EQ(sums.chunks_changed, 1u);
    EXPECT_EQ(sums.last_us, 80);
}

}  // namespace
}  // namespace predsnap::predict
