// SPDX-License-Identifier: GPL-2.0-or-later
#include "trace.h"

#include <zstd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "block/engine/types.h"

namespace predsnap::replay {
namespace {

constexpr std::string_view kHeader = "time_us,op,offset_bytes,length_bytes";
constexpr size_t kLineMax = 1 << 16;  // what is longer is no trace

// Takes the text up to the next comma, or all that is left.
std::string_view take_field(std::string_view& line) {
    const size_t comma = line.find(',');
    const std::string_view field = line.substr(0, comma);
    line.remove_prefix(comma == std::string_view::npos ? line.size() : comma + 1);
    return field;
}

template <typename T>
bool parse_number(std::string_view text, T& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

// The lines of a file, decompressed where it begins as zstd does.
class TraceReader::Lines {
  public:
    static Result<std::unique_ptr<Lines>> open(const std::string& path);
    ~Lines();

    // The next line without its end; nothing at the end of the file. Valid until the next call.
    Result<std::optional<std::string_view>> next();
    const std::string& path() const { return path_; }
    uint64_t number() const { return number_; }

  private:
    Lines(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
    Result<bool> fill();
    Result<bool> read_input();
    Result<void> decompress();
    Error failed(const std::string& what) const { return Error{EIO, path_ + ": " + what}; }

    const std::string path_;
    std::FILE* const file_;
    ZSTD_DStream* zstd_ = nullptr;  // null: the file is text
    size_t zstd_wants_ = 0;         // bytes that end the current frame; 0 between frames
    bool begun_ = false;
    std::vector<char> input_ = std::vector<char>(1 << 16);
    size_t input_begin_ = 0, input_end_ = 0;
    std::string text_;
    size_t text_begin_ = 0;
    uint64_t number_ = 0;  // of the line last given
};

Result<std::unique_ptr<TraceReader::Lines>> TraceReader::Lines::open(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) {
        const int code = errno;
        return Error{code, path + ": " + std::strerror(code)};
    }
    return std::unique_ptr<Lines>(new Lines(path, file));
}

TraceReader::Lines::~Lines() {
    ZSTD_freeDStream(zstd_);
    std::fclose(file_);
}

Result<std::optional<std::string_view>> TraceReader::Lines::next() {
    size_t searched = text_begin_;
    while (true) {
        const size_t end = text_.find('\n', searched);
        if (end != std::string::npos) {
            const std::string_view line(text_.data() + text_begin_, end - text_begin_);
            text_begin_ = end + 1;
            ++number_;
            return std::optional(line);
        }
        if (text_.size() - text_begin_ > kLineMax) {
            return failed("line " + std::to_string(number_ + 1) + " has no end: not a trace");
        }
        text_.erase(0, text_begin_);
        text_begin_ = 0;
        searched = text_.size();
        TRY_ASSIGN(const bool more, fill());
        if (!more) {
            break;
        }
    }
    if (text_.empty()) {
        return std::optional<std::string_view>();
    }
    return failed("line " + std::to_string(number_ + 1) + " has no end: the file is cut off");
}

// Adds to text_; false at the end of the file.
Result<bool> TraceReader::Lines::fill() {
    TRY_ASSIGN(const bool more, read_input());
    if (!more) {
        if (zstd_wants_ != 0) {
            return failed("the compressed data is cut off");
        }
        return false;
    }
    if (zstd_ != nullptr) {
        TRY(decompress());
        return true;
    }
    text_.append(input_.data() + input_begin_, input_end_ - input_begin_);
    input_begin_ = input_end_;
    return true;
}

Result<bool> TraceReader::Lines::read_input() {
    input_begin_ = 0;
    input_end_ = std::fread(input_.data(), 1, input_.size(), file_);
    if (std::ferror(file_) != 0) {
        return failed(std::string("cannot be read: ") + std::strerror(errno));
    }
    if (!std::exchange(begun_, true) && input_end_ >= 4) {
        uint32_t magic = 0;
        std::memcpy(&magic, input_.data(), sizeof(magic));
        zstd_ = magic == ZSTD_MAGICNUMBER ? ZSTD_createDStream() : nullptr;
    }
    return input_end_ > 0;
}

Result<void> TraceReader::Lines::decompress() {
    ZSTD_inBuffer in{input_.data(), input_end_, input_begin_};
    std::array<char, 1 << 16> plain;
    ZSTD_outBuffer out{};
    do {
        out = {plain.data(), plain.size(), 0};
        zstd_wants_ = ZSTD_decompressStream(zstd_, &out, &in);
        if (ZSTD_isError(zstd_wants_) != 0U) {
            return failed(std::string("the compressed data is damaged: ") +
                          ZSTD_getErrorName(zstd_wants_));
        }
        text_.append(plain.data(), out.pos);
    } while (in.pos < in.size || out.pos == out.size);
    input_begin_ = in.pos;
    return {};
}

TraceReader::TraceReader(std::unique_ptr<Lines> lines) : lines_(std::move(lines)) {}
TraceReader::TraceReader(TraceReader&&) noexcept = default;
TraceReader& TraceReader::operator=(TraceReader&&) noexcept = default;
TraceReader::~TraceReader() = default;

Result<TraceReader> TraceReader::open(const std::string& path) {
    TRY_ASSIGN(std::unique_ptr<Lines> lines, Lines::open(path));
    TRY_ASSIGN(const std::optional<std::string_view> header, lines->next());
    if (header != kHeader) {
        return Error{EINVAL,
                     path + ":1: not a trace: the header must be '" + std::string(kHeader) + "'"};
    }
    return TraceReader(std::move(lines));
}

Error TraceReader::bad_line(const std::string& what) const {
    return Error{EINVAL, lines_->path() + ":" + std::to_string(lines_->number()) + ": " + what};
}

Result<std::optional<Request>> TraceReader::next() {
    TRY_ASSIGN(const std::optional<std::string_view> found, lines_->next());
    if (!found) {
        return std::optional<Request>();
    }
    std::string_view line = *found;
    Request request;
    const std::string_view time = take_field(line), op = take_field(line);
    const std::string_view offset = take_field(line), length = take_field(line);
    if (!line.empty() || !parse_number(time, request.time_us) ||
        !parse_number(offset, request.offset) || !parse_number(length, request.length)) {
        return bad_line("not 'time_us,op,offset_bytes,length_bytes' in whole numbers");
    }
    if (op != "R" && op != "W") {
        return bad_line("the operation is '" + std::string(op) + "', neither R nor W");
    }
    if (request.time_us < last_us_) {
        return bad_line("time goes back, from " + std::to_string(last_us_) + " to " +
                        std::to_string(request.time_us) + " us");
    }
    if (request.length == 0 || request.offset % kSectorSize != 0 ||
        request.length % kSectorSize != 0) {
        return bad_line("offset and length must be multiples of 512, and the length not 0");
    }
    if (request.offset + request.length < request.offset) {
        return bad_line("the request goes beyond 2^64");
    }
    request.write = op == "W";
    last_us_ = request.time_us;
    return std::optional(request);
}

}  // namespace predsnap::replay
