// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/replay/trace.h"

#include <gtest/gtest.h>

#include <vector>

#include "trace_file.h"

namespace predsnap::replay::test {
namespace {

struct Outcome {
    std::vector<Request> requests;
    std::string error;
};

Outcome read_all(const std::string& path) {
    Outcome outcome;
    Result<TraceReader> reader = TraceReader::open(path);
    if (!reader.ok()) {
        outcome.error = reader.error().message;
        return outcome;
    }
    while (true) {
        const auto request = reader.value().next();
        if (!request.ok()) {
            outcome.error = request.error().message;
            return outcome;
        }
        if (!request.value()) {
            return outcome;
        }
        outcome.requests.push_back(*request.value());
    }
}

std::string error_of(const std::string& content) {
    const TraceFile file(content);
    std::string error = read_all(file.path()).error;
    const std::string prefix = file.path();
    EXPECT_TRUE(error.starts_with(prefix)) << error;
    return error.substr(std::min(prefix.size(), error.size()));
}

TEST(Trace, ReadsPlainText) {
    const TraceFile file(kHeaderLine + "0,W,4096,512\n7,R,0,8192\n");
    const Outcome outcome = read_all(file.path());
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(outcome.requests, (std::vector<Request>{{0, true, 4096, 512}, {7, false, 0, 8192}}));
}

TEST(Trace, ReadsZstdLongerThanItsBuffers) {
    std::string text = kHeaderLine;
    for (int i = 0; i < 100'000; ++i) {
        text += std::to_string(i * 31) + ",W," + std::to_string(i % 1000 * 4096) + ",4096\n";
    }
    const TraceFile file(compressed(text));
    const Outcome outcome = read_all(file.path());
    EXPECT_EQ(outcome.error, "");
    ASSERT_EQ(outcome.requests.size(), 100'000u);
    EXPECT_EQ(outcome.requests.back(), (Request{99'999 * 31, true, 999 * 4096, 4096}));
}

TEST(Trace, ReadsSeveralFramesAsOne) {
    const TraceFile file(compressed(kHeaderLine + "0,W,0,512\n") + compressed("1,R,0,512\n"));
    EXPECT_EQ(read_all(file.path()).requests.size(), 2u);
}

TEST(Trace, NamesFileAndLineOfWhatIsWrong) {
    EXPECT_EQ(error_of(kHeaderLine + "0,W,0,512\n1,X,0,512\n"),
              ":3: the operation is 'X', neither R nor W");
    EXPECT_EQ(error_of(kHeaderLine + "0,W,0\n"),
              ":2: not 'time_us,op,offset_bytes,length_bytes' in whole numbers");
    EXPECT_EQ(error_of(kHeaderLine + "0,W,0,512,1\n"),
              ":2: not 'time_us,op,offset_bytes,length_bytes' in whole numbers");
    EXPECT_EQ(error_of(kHeaderLine + "9,W,0,512\n8,W,0,512\n"),
              ":3: time goes back, from 9 to 8 us");
    EXPECT_EQ(error_of(kHeaderLine + "0,W,100,512\n"),
              ":2: offset and length must be multiples of 512, and the length not 0");
    EXPECT_EQ(error_of(kHeaderLine + "0,W,18446744073709551104,1024\n"),
              ":2: the request goes beyond 2^64");
    EXPECT_EQ(error_of("a,b\n"),
              ":1: not a trace: the header must be 'time_us,op,offset_bytes,length_bytes'");
}

TEST(Trace, NoticesFilesThatAreCutOff) {
    EXPECT_EQ(error_of(kHeaderLine + "0,W,0,51"), ": line 2 has no end: the file is cut off");
    const std::string whole = compressed(kHeaderLine + "0,W,0,512\n");
    EXPECT_EQ(error_of(whole.substr(0, whole.size() - 3)), ": the compressed data is cut off");
}

TEST(Trace, NoticesDamagedCompression) {
    std::string damaged = compressed(kHeaderLine + "0,W,0,512\n");
    damaged[5] = static_cast<char>(damaged[5] ^ 0xff);
    damaged[10] = static_cast<char>(damaged[10] ^ 0xff);
    EXPECT_NE(error_of(damaged), "");
}

TEST(Trace, SaysWhichFileIsNotThere) {
    EXPECT_EQ(read_all("/nonexistent/trace").error,
              "/nonexistent/trace: No such file or directory");
}

}  // namespace
}  // namespace predsnap::replay::test
