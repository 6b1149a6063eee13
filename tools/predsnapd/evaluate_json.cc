// SPDX-License-Identifier: GPL-2.0-or-later
#include <json-glib/json-glib.h>

#include <memory>

#include "evaluate_text.h"

namespace predsnap::predict {
namespace {

struct Unref {
    void operator()(void* object) const { g_object_unref(object); }
};

class Writer {
  public:
    Writer() : builder_(json_builder_new()) {}
    Writer& name(std::string_view name) {
        json_builder_set_member_name(builder_.get(), std::string(name).c_str());
        return *this;
    }
    void begin_object() { json_builder_begin_object(builder_.get()); }
    void end_object() { json_builder_end_object(builder_.get()); }
    void begin_array() { json_builder_begin_array(builder_.get()); }
    void end_array() { json_builder_end_array(builder_.get()); }
    void value(double value) { json_builder_add_double_value(builder_.get(), value); }
    void value(const std::string& value) { json_builder_add_string_value(builder_.get(), value.c_str()); }
    void count(uint64_t value) { json_builder_add_int_value(builder_.get(), static_cast<gint64>(value)); }
    std::string text();

  private:
    std::unique_ptr<JsonBuilder, Unref> builder_;
};

std::string Writer::text() {
    const std::unique_ptr<JsonGenerator, Unref> generator(json_generator_new());
    JsonNode* root = json_builder_get_root(builder_.get());
    json_generator_set_root(generator.get(), root);
    json_generator_set_pretty(generator.get(), TRUE);
    char* bytes = json_generator_to_data(generator.get(), nullptr);
    std::string text = bytes;
    g_free(bytes);
    json_node_unref(root);
    return text;
}

void write_recall(Writer& writer, const std::array<double, kBudgets.size()>& recall) {
    static constexpr const char* kNames[] = {"recall-at-5", "recall-at-10", "recall-at-25"};
    for (size_t i = 0; i < kBudgets.size(); ++i) {
        writer.name(kNames[i]).value(recall[i]);
    }
}

void write_calibration(Writer& writer, const Calibration& calibration) {
    writer.begin_object();
    writer.name("brier").value(calibration.brier());
    writer.name("error").value(calibration.error());
    writer.name("bins").begin_array();
    for (const Calibration::Bin& bin : calibration.bins) {
        const double count = static_cast<double>(std::max<size_t>(bin.count, 1));
        writer.begin_object();
        writer.name("count").count(bin.count);
        writer.name("predicted").value(bin.predicted / count);
        writer.name("observed").value(bin.came / count);
        writer.end_object();
    }
    writer.end_array();
    writer.end_object();
}

void write_quality(Writer& writer, const TargetReport& report, size_t measured) {
    const Quality& quality = report.quality[measured];
    writer.begin_object();
    writer.name("average-precision").value(quality.average_precision);
    writer.name("average-precision-each-moment").value(quality.moment_precision);
    writer.name("average-precision-with-new").value(quality.average_precision_all);
    writer.name("ratio-to-best-heuristic").value(report.ratio(measured));
    write_recall(writer, quality.recall);
    if (measured == kServed) {
        writer.name("calibration");
        write_calibration(writer, quality.calibration);
    } else {
        writer.name("moments-served").count(report.served[measured]);
    }
    writer.end_object();
}

void write_target(Writer& writer, const TargetReport& report) {
    writer.begin_object();
    writer.name("operation").value(std::string(report.target.op == Op::kWrite ? "write" : "read"));
    writer.name("horizon").count(static_cast<uint64_t>(report.target.horizon_us / kSecond));
    writer.name("moments").count(report.moments);
    writer.name("candidates").count(report.ranked);
    writer.name("came").count(report.came);
    writer.name("came-never-seen").count(report.missed);
    writer.name("base-rate").value(report.base_rate);
    writer.name("best-heuristic").value(std::string(measured_name(report.best_heuristic())));
    writer.name("methods").begin_object();
    for (size_t i = 0; i < kMeasured; ++i) {
        if (report.quality[i].measured) {
            writer.name(measured_name(i));
            write_quality(writer, report, i);
        }
    }
    writer.name("oracle").begin_object();
    writer.name("average-precision").value(report.base_rate > 0 ? 1 : 0);
    writer.name("average-precision-with-new").value(report.oracle_all);
    write_recall(writer, report.oracle_recall);
    writer.end_object();
    writer.end_object();
    writer.end_object();
}

void write_system(Writer& writer, const SystemFigures& of) {
    writer.name(name_of(of.policy)).begin_object();
    writer.name("read-hits").value(of.read_hits);
    writer.name("rewrite-hits").value(of.rewrite_hits);
    writer.name("image-reads").count(of.image_reads);
    writer.name("log-bytes").value(of.log_bytes);
    writer.name("copied-bytes").value(of.copied_bytes);
    writer.name("written-bytes").value(of.written_bytes);
    writer.name("slow-read-p50").value(of.slow_read_p50_s);
    writer.name("slow-read-p99").value(of.slow_read_p99_s);
    writer.name("restore").value(of.restore_s);
    writer.name("ranges-told").count(of.ranges);
    writer.name("seconds-predicting").value(of.predict_s);
    writer.end_object();
}

void write_ideal(Writer& writer, const char* name, const replay::CacheHits& hits) {
    writer.name(name).begin_object();
    writer.name("read-hits").value(hits.read_share());
    writer.name("rewrite-hits").value(hits.write_share());
    writer.name("hits").value(hits.both_share());
    writer.end_object();
}

void write_trace(Writer& writer, const TraceReport& report) {
    writer.begin_object();
    writer.name("trace").value(report.path);
    writer.name("requests").count(report.requests);
    writer.name("span").value(report.span_s);
    writer.name("trainings").count(report.trainings);
    writer.name("training-rows").count(report.rows);
    writer.name("seconds-training").value(report.train_s);
    writer.name("seconds-observing").value(report.observe_s);
    writer.name("seconds-scoring").value(report.score_s);
    writer.name("memory-bytes").count(report.memory_bytes);
    if (!report.lender.empty()) {
        writer.name("began-with-models-of").value(report.lender);
    }
    writer.name("targets").begin_array();
    for (const TargetReport& target : report.targets) {
        write_target(writer, target);
    }
    writer.end_array();
    if (!report.system.policies.empty()) {
        writer.name("system").begin_object();
        for (const SystemFigures& of : report.system.policies) {
            write_system(writer, of);
        }
        write_ideal(writer, "cache-least-recently-used", report.system.ideal.least_recent);
        write_ideal(writer, "cache-that-knows-the-future", report.system.ideal.best);
        writer.end_object();
    }
    writer.end_object();
}

}  // namespace

std::string to_json(const std::vector<TraceReport>& reports) {
    Writer writer;
    writer.begin_object();
    writer.name("traces").begin_array();
    for (const TraceReport& report : reports) {
        write_trace(writer, report);
    }
    writer.end_array();
    writer.end_object();
    return writer.text();
}

}  // namespace predsnap::predict
