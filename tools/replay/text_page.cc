// SPDX-License-Identifier: GPL-2.0-or-later
#include "text_page.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "mix.h"

namespace predsnap::replay {
namespace {

constexpr size_t kLine = 76;  // after so many bytes a line ends

// In order of frequency.
// clang-format off
constexpr auto kWords = std::to_array<std::string_view>({
    "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "with", "as", "was", "on",
    "be", "by", "this", "are", "from", "at", "which", "or", "not", "have", "server", "request",
    "connection", "error", "user", "file", "system", "data", "process", "service", "value",
    "started", "configuration", "return", "include", "default", "option", "function", "message",
    "session", "network", "address", "memory", "time", "number", "package", "version",
    "directory", "information", "warning", "failed", "status", "client", "database", "table",
    "string", "object", "device", "interface", "kernel", "module", "result", "buffer", "length",
    "current", "available", "between", "another", "without", "however", "because", "through",
    "during", "before", "development", "application", "management", "security", "performance",
    "government", "question", "national", "education", "community", "president", "president's",
    "important", "different", "following", "according", "university", "international",
    "production", "experience", "understand", "consider", "possible", "company", "program",
    "children", "problem", "believe", "public", "already", "social", "become", "special",
    "history", "student", "picture", "country", "nothing", "several", "whether", "certain",
    "usually", "language", "material", "together", "research", "probably", "remember", "reason"});
// clang-format on

// A product of two even draws: small ones are frequent.
std::string_view word_of(uint64_t draw) {
    const uint64_t n = kWords.size();
    return kWords[(draw & 0xffff) % n * ((draw >> 16 & 0xffff) % n) / n];
}

}  // namespace

void fill_text_page(uint64_t key, Page out) {
    size_t at = 0, column = 0;
    for (uint64_t i = 0; at < out.size(); ++i) {
        const uint64_t draw = mix(key + (i + 1) * 0x9e3779b97f4a7c15ull);
        const std::string_view word = word_of(draw);
        const size_t length = std::min(word.size(), out.size() - at);
        std::memcpy(out.data() + at, word.data(), length);
        at += length;
        column += length + 1;
        if (at < out.size()) {
            out[at++] = column >= kLine ? '\n' : ' ';
        }
        column = column >= kLine ? 0 : column;
    }
}

}  // namespace predsnap::replay
