// SPDX-License-Identifier: GPL-2.0-or-later
//
// What it is worth to put apart what dies apart: a model of the cleaner that knows blocks and segments, nothing else,
// under several rules of placement, over traces or synthetic overwriting. Prints a table; see usage().
//
// Space is as the engine's (allowance.cc): a quarter more than the live data, and 8 segments; of these some hold no data,
// and each log that is open takes one.
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "block/engine/result.h"
#include "tools/replay/trace.h"

namespace predsnap::bench {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint32_t kNever = UINT32_MAX;
constexpr int kClasses = 8;   // of open segments: the first two take what the guest writes, the others what is moved
constexpr int kMovedClass = 2;

struct Settings {
    uint64_t segment_kib = 8192;
    uint64_t spare = 8;       // segments beside a quarter more than the live data
    uint64_t idle = 6;        // of them: checkpoints, indexes, the announced one, and what is about to be free
    double log_share = 0.94;  // of a segment that the guest's data fills; the rest is headers
    double moved_share = 0.998;     // the same of what is moved apart,
    double mixed_share = 0.975;     // and of what is moved in the guest's log
    uint64_t uniform_mib = 768;
    uint64_t times = 8;
    int64_t below = 2, to = 4;  // segments left: cleaning begins, and ends
    uint32_t wait = 0;        // what is overwritten within so many blocks, victims wait for: the future is known; 0: none does
    int benefit = 0;          // victims by cost alone; 1: by benefit (times age) for cost; 2: times the root of age
};

struct Block {
    uint32_t segment = kNever;
    uint32_t slot = 0;
    uint32_t written = kNever;  // when the guest wrote it: counts blocks
};

struct Segment {
    std::vector<uint32_t> blocks;  // by slot
    uint32_t live = 0;
    uint32_t opened = 0, closed = 0;
    uint64_t written_sum = 0;      // of what was put in
    int of = 0;                    // class of open segments
    int generation = 0;
    double filled = 0;             // blocks, headers included
    bool is_open = false, is_free = true;
};

// What a rule of placement may look at.
struct Moved {
    uint32_t block;
    uint32_t age;          // blocks written by the guest since it wrote this one
    uint32_t segment_age;  // the same as a mean over its segment
    int of;                // class of the segment it leaves
    int generation;        // how often it was moved
    uint32_t ahead;        // when it will be written again
};
struct Written {
    uint32_t lifetime;  // of what it replaces; kNever: nothing
    uint32_t ahead;
};

struct Rule {
    const char* name;
    std::function<int(const Written&, double)> written;  // the second: mean lifetime of segments of class 0
    std::function<int(const Moved&, double)> moved;
    int logs;  // that are open at a time
};

class Model {
  public:
    Model(const Settings& s, const Rule& rule, const std::vector<uint32_t>& writes, const std::vector<uint32_t>& ahead,
          uint32_t blocks, size_t measure_from)
        : s_(s), rule_(rule), writes_(writes), ahead_(ahead), measure_from_(measure_from), map_(blocks) {
        std::fill(std::begin(open_), std::end(open_), kNever);
        per_segment_ = static_cast<uint32_t>(s.segment_kib * 1024 / kBlock) - 1;
    }

    void run() {
        for (now_ = 0; now_ < writes_.size(); ++now_) {
            if (now_ == measure_from_) {
                moved_ = 0;
                segments_cleaned_ = 0;
            }
            write(writes_[now_]);
            clean();
        }
    }
    double moved() const { return static_cast<double>(moved_) / static_cast<double>(writes_.size() - measure_from_); }
    uint64_t cleaned() const { return segments_cleaned_; }
    uint64_t at_most() const { return at_most_; }

  private:
    void write(uint32_t block) {
        Block& b = map_[block];
        const Written w{b.written == kNever ? kNever : now_ - b.written, ahead_[now_]};
        drop(b);
        b.written = now_;
        put(block, rule_.written ? rule_.written(w, mean_life_) : 0, 0);
    }

    void drop(Block& b) {
        if (b.segment == kNever) {
            ++live_;
            return;
        }
        Segment& segment = segments_[b.segment];
        --segment.live;
        b.segment = kNever;
    }

    void put(uint32_t block, int of, int generation) {
        if (open_[of] == kNever) {
            open(of);
        }
        Segment& segment = segments_[open_[of]];
        Block& b = map_[block];
        b.segment = open_[of];
        b.slot = static_cast<uint32_t>(segment.blocks.size());
        segment.blocks.push_back(block);
        segment.written_sum += b.written;
        segment.generation = std::max(segment.generation, generation);
        ++segment.live;
        segment.filled += 1 / (generation == 0 ? s_.log_share : of < kMovedClass ? s_.mixed_share : s_.moved_share);
        if (segment.filled >= per_segment_) {
            segment.is_open = false;
            segment.closed = now_;
            open_[of] = kNever;
        }
    }

    void open(int of) {
        auto id = static_cast<uint32_t>(segments_.size());
        if (!free_.empty()) {
            id = free_.back();
            free_.pop_back();
        } else {
            segments_.emplace_back();
        }
        Segment& segment = segments_[id];
        segment = Segment{};
        segment.of = of;
        segment.is_open = true;
        segment.is_free = false;
        segment.opened = now_;
        open_[of] = id;
        at_most_ = std::max<uint64_t>(at_most_, segments_.size() - free_.size());
    }

    int64_t left() const {
        const auto live = static_cast<double>(live_);
        const auto allowed = static_cast<int64_t>(std::ceil(live * 1.25 / (per_segment_ + 1))) + static_cast<int64_t>(s_.spare);
        return allowed - static_cast<int64_t>(segments_.size() - free_.size() + s_.idle);
    }

    void clean() {
        if (left() >= s_.below) {
            return;
        }
        while (left() < s_.to) {
            const uint32_t victim = choose();
            if (victim == kNever) {
                return;
            }
            move_out(victim);
        }
    }

    uint32_t choose() const {
        uint32_t best = kNever;
        double most = 0;
        for (uint32_t id = 0; id < segments_.size(); ++id) {
            const Segment& segment = segments_[id];
            if (segment.is_free || segment.is_open || segment.live > per_segment_ * 7 / 8) {
                continue;
            }
            const double used = static_cast<double>(segment.live) / per_segment_;
            double worth = s_.benefit > 0 ? (1 - used) * (s_.benefit == 1 ? now_ - segment.closed + 1.0 : std::sqrt(now_ - segment.closed + 1.0)) / (used + 1e-9) : 1 - used;
            if (worth > most) {
                worth *= 1 - dying(id);
            }
            if (worth > most) {
                most = worth;
                best = id;
            }
        }
        return best;
    }

    // Share of what a segment holds that is overwritten soon.
    double dying(uint32_t id) const {
        const Segment& segment = segments_[id];
        uint32_t soon = 0;
        for (uint32_t slot = 0; slot < segment.blocks.size() && s_.wait > 0; ++slot) {
            const Block& b = map_[segment.blocks[slot]];
            const bool live = b.segment == id && b.slot == slot;
            soon += live && ahead_[b.written] != kNever && ahead_[b.written] - now_ < s_.wait ? 1 : 0;
        }
        return segment.live == 0 ? 0 : static_cast<double>(soon) / segment.live;
    }

    void move_out(uint32_t victim) {
        ++segments_cleaned_;
        if (segments_[victim].of == 0) {
            const double life = now_ - segments_[victim].opened;
            mean_life_ = mean_life_ == 0 ? life : mean_life_ * 15 / 16 + life / 16;
        }
        const Segment from = segments_[victim];
        const auto mean = static_cast<uint32_t>(from.written_sum / from.blocks.size());
        std::vector<uint32_t> blocks;
        for (uint32_t slot = 0; slot < from.blocks.size(); ++slot) {
            const Block& b = map_[from.blocks[slot]];
            if (b.segment == victim && b.slot == slot) {
                blocks.push_back(from.blocks[slot]);
            }
        }
        std::sort(blocks.begin(), blocks.end());
        for (const uint32_t block : blocks) {
            Block& b = map_[block];
            const Moved m{block, now_ - b.written, now_ - mean, from.of, from.generation + 1, ahead_[b.written] == kNever ? kNever : ahead_[b.written] - now_};
            --segments_[victim].live;
            put(block, rule_.moved ? rule_.moved(m, mean_life_) : 0, from.generation + 1);
            ++moved_;
        }
        segments_[victim] = Segment{};
        free_.push_back(victim);
    }

    const Settings& s_;
    const Rule& rule_;
    const std::vector<uint32_t>& writes_;
    const std::vector<uint32_t>& ahead_;
    const size_t measure_from_;
    std::vector<Block> map_;
    std::vector<Segment> segments_;
    std::vector<uint32_t> free_;
    uint32_t open_[kClasses];
    uint32_t per_segment_;
    uint32_t now_ = 0;
    uint64_t live_ = 0, moved_ = 0, segments_cleaned_ = 0, at_most_ = 0;
    double mean_life_ = 0;
};

int by_age(double age, double life, std::initializer_list<double> limits) {
    int of = kMovedClass;
    for (const double limit : limits) {
        if (age < limit * life) {
            return of;
        }
        ++of;
    }
    return of;
}

std::vector<Rule> rules() {
    const auto sepbit_written = [](const Written& w, double life) { return w.lifetime != kNever && (life == 0 || w.lifetime < life) ? 0 : 1; };
    const auto sepbit_moved = [](const Moved& m, double life) {
        return m.of == 0 ? kMovedClass : 1 + by_age(m.age, life, {4, 16});
    };
    std::vector<Rule> all;
    all.push_back({"one log", nullptr, nullptr, 1});
    all.push_back({"moved apart", nullptr, [](const Moved&, double) { return kMovedClass; }, 2});
    all.push_back({"moved by age, 2 classes", nullptr, [](const Moved& m, double life) { return by_age(m.age, life, {4}); }, 3});
    all.push_back({"moved by age of its segment", nullptr,
                   [](const Moved& m, double life) { return by_age(m.segment_age, life, {4}); }, 3});
    all.push_back({"moved by age, 3 classes", nullptr, [](const Moved& m, double life) { return by_age(m.age, life, {2, 8}); }, 4});
    all.push_back({"moved once, more often", nullptr,
                   [](const Moved& m, double) { return kMovedClass + std::min(m.generation - 1, 1); }, 3});
    all.push_back({"moved once, twice, more often", nullptr,
                   [](const Moved& m, double) { return kMovedClass + std::min(m.generation - 1, 2); }, 4});
    all.push_back({"written in two, moved apart", sepbit_written, [](const Moved&, double) { return kMovedClass; }, 3});
    all.push_back({"SepBIT (2 + 4)", sepbit_written, sepbit_moved, 6});
    all.push_back({"SepBIT, moved only (4)", nullptr, sepbit_moved, 5});
    all.push_back({"the future, moved only (3)", nullptr, [](const Moved& m, double life) {
                       return m.ahead == kNever ? kMovedClass + 2 : kMovedClass + (m.ahead < life ? 0 : 1);
                   }, 4});
    return all;
}

struct Load {
    std::string name;
    std::vector<uint32_t> writes;  // blocks, numbered from 0 in the order of the disk
    uint32_t blocks = 0;
    size_t measure_from = 0;
};

Load synthetic(const Settings& s, uint64_t hot_percent) {
    Load load;
    load.name = hot_percent > 0 ? "90% to a tenth" : "uniform";
    load.blocks = static_cast<uint32_t>(s.uniform_mib * 1024 * 1024 / kBlock);
    for (uint32_t b = 0; b < load.blocks; ++b) {
        load.writes.push_back(b);
    }
    load.measure_from = load.blocks * uint64_t{3};
    std::mt19937_64 random(1);
    for (uint64_t i = 0; i < load.blocks * s.times; ++i) {
        const bool hot = random() % 100 < hot_percent;
        load.writes.push_back(static_cast<uint32_t>(hot ? random() % (load.blocks / 10) : random() % load.blocks));
    }
    return load;
}

Load from_trace(const std::string& path) {
    Load load;
    load.name = path.substr(path.rfind('/') + 1);
    auto opened = replay::TraceReader::open(path);
    if (!opened.ok()) {
        std::fprintf(stderr, "placement-model: %s\n", opened.error().message.c_str());
        std::exit(1);
    }
    auto reader = opened.take();
    std::vector<uint64_t> raw;
    for (;;) {
        auto next = reader.next();
        if (!next.ok()) {
            std::fprintf(stderr, "placement-model: %s\n", next.error().message.c_str());
            std::exit(1);
        }
        if (!next.value()) {
            break;
        }
        const replay::Request& r = *next.value();
        for (uint64_t at = r.offset / kBlock; r.write && at < (r.offset + r.length + kBlock - 1) / kBlock; ++at) {
            raw.push_back(at);
        }
    }
    std::vector<uint64_t> sorted = raw;
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    load.blocks = static_cast<uint32_t>(sorted.size());
    for (const uint64_t at : raw) {
        load.writes.push_back(static_cast<uint32_t>(std::lower_bound(sorted.begin(), sorted.end(), at) - sorted.begin()));
    }
    return load;
}

// For each write, which one writes its block again; kNever: none.
std::vector<uint32_t> look_ahead(const Load& load) {
    std::vector<uint32_t> ahead(load.writes.size(), kNever), last(load.blocks, kNever);
    for (size_t i = load.writes.size(); i-- > 0;) {
        uint32_t& next = last[load.writes[i]];
        ahead[i] = next;
        next = static_cast<uint32_t>(i);
    }
    return ahead;
}

[[noreturn]] void usage() {
    std::fputs(
        "usage: placement-model [NAME=NUMBER...] [uniform] [hot] [TRACE...]\n\n"
        "  uniform, hot      synthetic: all blocks alike, or 90% of the writes to a tenth of them; traces are CSV, also in zstd\n"
        "  segment=KIB       (8192)   spare=N  segments beside 1.25 x live data (8)\n"
        "  idle=N            of these, hold no data (6)\n"
        "  below=N to=N      segments left when cleaning begins, and ends (2, 4)\n"
        "  benefit=N         victims by cost alone, 0; by benefit for cost times age, 1; times its root, 2 (0)\n"
        "  wait=BLOCKS       victims count for less by the share of what they hold that is overwritten within so many blocks (0)\n"
        "  log=F mixed=F moved=F   share of a segment that is data: of the guest's writes, of what is moved in their log, and of\n"
        "                    what is moved apart (0.94, 0.975, 0.998)\n"
        "  size=MIB times=N  of synthetic ones (768, 8)\n",
        stderr);
    std::exit(2);
}

struct Arguments {
    Settings settings;
    std::vector<std::string> traces;
    bool uniform = false, hot = false;
};

Arguments parse(int argc, char** argv) {
    Arguments result;
    Settings& s = result.settings;
    const std::pair<const char*, std::function<void(double)>> names[] = {
        {"segment=", [&](double v) { s.segment_kib = static_cast<uint64_t>(v); }},
        {"spare=", [&](double v) { s.spare = static_cast<uint64_t>(v); }},
        {"idle=", [&](double v) { s.idle = static_cast<uint64_t>(v); }},
        {"below=", [&](double v) { s.below = static_cast<int64_t>(v); }},
        {"to=", [&](double v) { s.to = static_cast<int64_t>(v); }},
        {"wait=", [&](double v) { s.wait = static_cast<uint32_t>(v); }},
        {"benefit=", [&](double v) { s.benefit = static_cast<int>(v); }},
        {"log=", [&](double v) { s.log_share = v; }},
        {"mixed=", [&](double v) { s.mixed_share = v; }},
        {"moved=", [&](double v) { s.moved_share = v; }},
        {"size=", [&](double v) { s.uniform_mib = static_cast<uint64_t>(v); }},
        {"times=", [&](double v) { s.times = static_cast<uint64_t>(v); }}};
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        const auto found = std::find_if(std::begin(names), std::end(names), [&](const auto& name) {
            return argument.rfind(name.first, 0) == 0;
        });
        if (found != std::end(names)) {
            found->second(std::atof(argument.c_str() + std::strlen(found->first)));
        } else if (argument == "uniform") {
            result.uniform = true;
        } else if (argument == "hot") {
            result.hot = true;
        } else if (argument.rfind("-", 0) == 0) {
            usage();
        } else {
            result.traces.push_back(argument);
        }
    }
    if (!result.uniform && !result.hot && result.traces.empty()) {
        usage();
    }
    return result;
}

int main(int argc, char** argv) {
    const Arguments arguments = parse(argc, argv);
    const Settings& s = arguments.settings;
    std::vector<Load> loads;
    if (arguments.uniform) {
        loads.push_back(synthetic(s, 0));
    }
    if (arguments.hot) {
        loads.push_back(synthetic(s, 90));
    }
    for (const std::string& trace : arguments.traces) {
        loads.push_back(from_trace(trace));
    }
    for (const Load& load : loads) {
        std::printf("%s: %zu blocks written, %u different\n", load.name.c_str(), load.writes.size(), load.blocks);
        const std::vector<uint32_t> ahead = look_ahead(load);
        for (const Rule& rule : rules()) {
            Model model(s, rule, load.writes, ahead, load.blocks, load.measure_from);
            model.run();
            std::printf("  %-34s logs %d  moved %.3f  cleaned %" PRIu64 "  segments %" PRIu64 "\n", rule.name, rule.logs,
                        model.moved(), model.cleaned(), model.at_most());
        }
    }
    return 0;
}

}  // namespace
}  // namespace predsnap::bench

int main(int argc, char** argv) { return predsnap::bench::main(argc, argv); }
