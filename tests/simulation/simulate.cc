// SPDX-License-Identifier: GPL-2.0-or-later
//
// simulate: runs seeds of the simulation and says which failed.
#include <malloc.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "run.h"

namespace {

using predsnap::sim::Coverage;
using predsnap::sim::run_seed;
using predsnap::sim::RunResult;

struct Arguments {
    const char* program;
    uint64_t first = 1;
    uint64_t count = 200;
    uint64_t steps = 120;
    unsigned jobs = 1;
    unsigned seed_timeout_s = 120;
    predsnap::sim::Detail detail = predsnap::sim::Detail::none;
    bool single = false;
    bool until_failure = false;
    bool hashes = false;
};

constexpr const char* kUsage =
    "usage: %s [--seed N | --seeds FROM..TO | --first N --count N] [--steps N] [--jobs N]\n"
    "          [--until-failure] [--hashes] [--verbose | --disk] [--timeout S]\n"
    "\n"
    "Runs the engine on a simulated disk, clock and scheduler; all follows from the seed.\n"
    "  --seed N         one seed, in this process: for a debugger\n"
    "  --seeds A..B     these seeds\n"
    "  --first, --count the same in another way (default: 200 from 1)\n"
    "  --steps N        length of a run (default 120)\n"
    "  --jobs N         processes (default 1)\n"
    "  --until-failure  stops at the first seed that fails\n"
    "  --hashes         prints each run's fingerprint: the same in every repetition\n"
    "  --verbose        says what each run does\n"
    "  --disk           the same with each request to the disk\n"
    "  --timeout S      seconds of CPU after which a seed counts as hung (default 120)\n";

[[noreturn]] void usage(const char* program, int status) {
    fprintf(status == 0 ? stdout : stderr, kUsage, program);
    exit(status);
}

uint64_t number(const char* program, const char* text) {
    char* end = nullptr;
    const uint64_t value = text == nullptr ? 0 : strtoull(text, &end, 10);
    if (text == nullptr || end == text || *end != '\0') {
        fprintf(stderr, "%s: \"%s\" is not a number\n", program, text == nullptr ? "" : text);
        exit(2);
    }
    return value;
}

void parse_range(Arguments* arguments, const std::string& text) {
    const size_t dots = text.find("..");
    if (dots == std::string::npos) {
        usage(arguments->program, 2);
    }
    arguments->first = number(arguments->program, text.substr(0, dots).c_str());
    const uint64_t last = number(arguments->program, text.substr(dots + 2).c_str());
    if (last < arguments->first) {
        usage(arguments->program, 2);
    }
    arguments->count = last - arguments->first + 1;
}

Arguments parse(int argc, char** argv) {
    Arguments arguments{.program = argv[0]};
    for (int i = 1; i < argc; ++i) {
        const std::string option = argv[i];
        const auto value = [&] { return number(argv[0], i + 1 < argc ? argv[++i] : nullptr); };
        if (option == "--seed") {
            arguments.first = value();
            arguments.count = 1;
            arguments.single = true;
        } else if (option == "--seeds" && i + 1 < argc) {
            parse_range(&arguments, argv[++i]);
        } else if (option == "--first") {
            arguments.first = value();
        } else if (option == "--count") {
            arguments.count = value();
        } else if (option == "--steps") {
            arguments.steps = value();
        } else if (option == "--jobs") {
            arguments.jobs = static_cast<unsigned>(std::max<uint64_t>(1, value()));
        } else if (option == "--timeout") {
            arguments.seed_timeout_s = static_cast<unsigned>(value());
        } else if (option == "--until-failure") {
            arguments.until_failure = true;
        } else if (option == "--hashes") {
            arguments.hashes = true;
        } else if (option == "--verbose") {
            arguments.detail = predsnap::sim::Detail::operations;
        } else if (option == "--disk") {
            arguments.detail = predsnap::sim::Detail::disk_requests;
        } else {
            usage(argv[0], option == "--help" ? 0 : 2);
        }
    }
    return arguments;
}

void report_failure(const Arguments& arguments, uint64_t seed, const std::string& message) {
    printf("seed %" PRIu64 " FAILED: %s\n  replay: %s --seed %" PRIu64 " --steps %" PRIu64
           " --verbose\n",
           seed, message.c_str(), arguments.program, seed, arguments.steps);
    fflush(stdout);
}

void print_coverage(const Coverage& coverage) {
    printf("exercised:\n");
    for (const auto& [what, times] : coverage.counts()) {
        printf("  %12" PRIu64 "  %s\n", times, what.c_str());
    }
}

// --- Processes. Each runs every n-th seed and tells its parent through a pipe, in lines:
//     "begin SEED", "pass SEED HASH", "fail SEED MESSAGE" (newlines as \1), "count N WHAT".

std::string joined(std::string text, char from, char to) {
    for (char& c : text) {
        c = c == from ? to : c;
    }
    return text;
}

// CPU time, not wall time: a busy machine is no failure.
void limit_cpu(unsigned seconds) {
    itimerval limit{};
    limit.it_value.tv_sec = seconds;
    setitimer(ITIMER_PROF, &limit, nullptr);
}

[[noreturn]] void work(const Arguments& arguments, uint64_t seed, uint64_t end, uint64_t stride,
                       FILE* out) {
    Coverage total;
    for (; seed < end; seed += stride) {
        fprintf(out, "begin %" PRIu64 "\n", seed);
        fflush(out);
        limit_cpu(arguments.seed_timeout_s);
        const RunResult result = run_seed(seed, arguments.steps, arguments.detail);
        total.add(result.coverage);
        if (result.failure.empty()) {
            fprintf(out, "pass %" PRIu64 " %" PRIx64 "\n", seed, result.trace_hash);
        } else {
            fprintf(out, "fail %" PRIu64 " %s\n", seed, joined(result.failure, '\n', '\1').c_str());
        }
        fflush(out);
    }
    for (const auto& [what, times] : total.counts()) {
        fprintf(out, "count %" PRIu64 " %s\n", times, what.c_str());
    }
    fflush(out);
    _exit(0);
}

class Fleet {
  public:
    explicit Fleet(const Arguments& arguments) : arguments_(arguments) {}

    // Number of seeds that failed.
    uint64_t run() {
        const uint64_t end = arguments_.first + arguments_.count;
        for (uint64_t i = 0; i < arguments_.jobs && i < arguments_.count; ++i) {
            workers_.push_back({});
            start(&workers_.back(), arguments_.first + i, end);
        }
        while (receive(end)) {
        }
        print_coverage(coverage_);
        printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed_, failed_);
        return failed_;
    }

  private:
    struct Worker {
        pid_t pid = 0;
        FILE* in = nullptr;
        uint64_t seed = 0;
        bool busy = false;
    };

    void start(Worker* worker, uint64_t first, uint64_t end) {
        int ends[2];
        fflush(nullptr);
        if (pipe(ends) != 0 || (worker->pid = fork()) < 0) {
            perror(arguments_.program);
            exit(2);
        }
        if (worker->pid == 0) {
            close(ends[0]);
            work(arguments_, first, end, arguments_.jobs, fdopen(ends[1], "w"));
        }
        close(ends[1]);
        worker->in = fdopen(ends[0], "r");
        worker->busy = false;
    }

    // Takes a line from each worker in turn: they all do the same amount of work, so that waiting
    // for one keeps none of the others long. False when all have ended.
    bool receive(uint64_t end) {
        bool any = false;
        for (Worker& worker : workers_) {
            if (worker.in == nullptr) {
                continue;
            }
            any = true;
            char* line = nullptr;
            size_t size = 0;
            if (getline(&line, &size, worker.in) > 0) {
                handle(&worker, line);
            } else {
                ended(&worker, end);
            }
            free(line);
            if (failed_ > 0 && arguments_.until_failure) {
                stop();
                return false;
            }
        }
        return any;
    }

    void handle(Worker* worker, const std::string& line) {
        const size_t space = line.find(' ', line.find(' ') + 1);
        const std::string rest =
            space == std::string::npos ? "" : line.substr(space + 1, line.size() - space - 2);
        const uint64_t value = strtoull(line.c_str() + line.find(' '), nullptr, 10);
        switch (line[0]) {
            case 'b':
                worker->seed = value;
                worker->busy = true;
                return;
            case 'c':
                coverage_.hit(rest, value);
                return;
            case 'p':
                worker->busy = false;
                ++passed_;
                if (arguments_.hashes) {
                    printf("seed %" PRIu64 " %s\n", value, rest.c_str());
                }
                break;
            default:
                worker->busy = false;
                ++failed_;
                report_failure(arguments_, value, joined(rest, '\1', '\n'));
        }
        progress();
    }

    void progress() {
        const uint64_t done = passed_ + failed_;
        const time_t now = time(nullptr);
        if (now >= next_progress_ || done == arguments_.count) {
            next_progress_ = now + 10;
            fprintf(stderr, "simulate: %" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed\n",
                    done, arguments_.count, failed_);
        }
    }

    // A worker that died took its seed with it; another goes on behind it.
    void ended(Worker* worker, uint64_t end) {
        fclose(worker->in);
        worker->in = nullptr;
        int status = 0;
        waitpid(worker->pid, &status, 0);
        if (!worker->busy) {
            if (status != 0) {
                ++failed_;
                printf("a worker ended with status %d outside of any seed\n", status);
            }
            return;
        }
        ++failed_;
        const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        report_failure(arguments_, worker->seed,
                       signal == SIGPROF ? "hung: no end in sight after the time limit"
                       : signal != 0     ? std::string("the process died: ") + strsignal(signal)
                                         : "the process ended, status " + std::to_string(status));
        progress();
        if (worker->seed + arguments_.jobs < end) {
            start(worker, worker->seed + arguments_.jobs, end);
        }
    }

    void stop() {
        for (Worker& worker : workers_) {
            if (worker.in != nullptr) {
                kill(worker.pid, SIGKILL);
                waitpid(worker.pid, nullptr, 0);
            }
        }
    }

    const Arguments& arguments_;
    std::vector<Worker> workers_;
    Coverage coverage_;
    uint64_t passed_ = 0;
    uint64_t failed_ = 0;
    time_t next_progress_ = time(nullptr) + 10;
};

int run_single(const Arguments& arguments) {
    const RunResult result = run_seed(arguments.first, arguments.steps, arguments.detail);
    if (!result.failure.empty()) {
        report_failure(arguments, arguments.first, result.failure);
    }
    print_coverage(result.coverage);
    printf("fingerprint %" PRIx64 ", %" PRIu64 " scheduler steps\n", result.trace_hash,
           result.steps);
    const bool passed = result.failure.empty();
    printf("%d passed, %d failed\n", passed ? 1 : 0, passed ? 0 : 1);
    fflush(stdout);
    _exit(passed ? 0 : 1);  // a failed run leaves its memory behind: no leak report
}

}  // namespace

int main(int argc, char** argv) {
    // A run's memory serves the next run: the kernel need not clear it again.
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    const Arguments arguments = parse(argc, argv);
    if (arguments.single) {
        return run_single(arguments);
    }
    return Fleet(arguments).run() == 0 ? 0 : 1;
}
