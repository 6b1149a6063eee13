// SPDX-License-Identifier: GPL-2.0-or-later
#include "frame.h"

#include <zstd.h>

namespace predsnap {

namespace {

// Leaves nothing in it unless that saves a sixteenth.
void keep_if_it_pays(size_t length, size_t frame_bytes, std::vector<uint8_t>* packed) {
    const bool pays = ZSTD_isError(length) == 0 && length < frame_bytes - frame_bytes / 16;
    packed->resize(pays ? length : 0);
}

// Of this thread: to make one takes longer than to unpack. Null: there is no memory.
ZSTD_DCtx* unpacking_context() {
    struct Context {
        ZSTD_DCtx* context = ZSTD_createDCtx();
        ~Context() { ZSTD_freeDCtx(context); }
    };
    static thread_local const Context kept;
    return kept.context;
}

}  // namespace

FramePacker::FramePacker() : context_(ZSTD_createCCtx()), after_(ZSTD_createCCtx()) {
    // After another reference, a frame would be unpacked to something else, and nobody would know.
    if (after_ != nullptr && ZSTD_isError(ZSTD_CCtx_setParameter(after_, ZSTD_c_checksumFlag, 1)) != 0) {
        ZSTD_freeCCtx(after_);
        after_ = nullptr;
    }
}

FramePacker::~FramePacker() {
    ZSTD_freeCCtx(context_);
    ZSTD_freeCCtx(after_);
}

void FramePacker::pack(std::span<const uint8_t> frame, int level, const Dictionary* dictionary,
                       std::vector<uint8_t>* packed) {
    packed->clear();
    if (context_ == nullptr) {
        return;  // no memory: frames are stored as they are
    }
    packed->resize(ZSTD_compressBound(frame.size()));
    const size_t length =
        dictionary != nullptr
            ? ZSTD_compress_usingCDict(context_, packed->data(), packed->size(), frame.data(), frame.size(),
                                       dictionary->packing())
            : ZSTD_compressCCtx(context_, packed->data(), packed->size(), frame.data(), frame.size(), level);
    keep_if_it_pays(length, frame.size(), packed);
}

void FramePacker::pack_after(std::span<const uint8_t> reference, std::span<const uint8_t> frame, int level,
                             std::vector<uint8_t>* packed) {
    packed->clear();
    if (after_ == nullptr || ZSTD_isError(ZSTD_CCtx_setParameter(after_, ZSTD_c_compressionLevel, level)) != 0 ||
        ZSTD_isError(ZSTD_CCtx_refPrefix(after_, reference.data(), reference.size())) != 0) {
        return;
    }
    packed->resize(ZSTD_compressBound(frame.size()));
    const size_t length = ZSTD_compress2(after_, packed->data(), packed->size(), frame.data(), frame.size());
    keep_if_it_pays(length, frame.size(), packed);
}

bool unpack_frame(std::span<const uint8_t> stored, const Dictionary* dictionary, std::span<uint8_t> frame) {
    ZSTD_DCtx* const context = unpacking_context();
    if (context == nullptr) {
        return false;
    }
    const size_t length =
        dictionary != nullptr
            ? ZSTD_decompress_usingDDict(context, frame.data(), frame.size(), stored.data(), stored.size(),
                                         dictionary->unpacking())
            : ZSTD_decompressDCtx(context, frame.data(), frame.size(), stored.data(), stored.size());
    return ZSTD_isError(length) == 0 && length == frame.size();
}

bool unpack_frame_after(std::span<const uint8_t> reference, std::span<const uint8_t> stored, std::span<uint8_t> frame) {
    ZSTD_DCtx* const context = unpacking_context();
    if (context == nullptr || ZSTD_isError(ZSTD_DCtx_refPrefix(context, reference.data(), reference.size())) != 0) {
        return false;
    }
    const size_t length = ZSTD_decompressDCtx(context, frame.data(), frame.size(), stored.data(), stored.size());
    ZSTD_DCtx_reset(context, ZSTD_reset_session_and_parameters);  // which forgets the reference if that failed
    return ZSTD_isError(length) == 0 && length == frame.size();
}

}  // namespace predsnap
