// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disk of a target as it was at a state, for the tool itself to read: a view that is there as long as the object, served
// over NBD. It is noted as other views are, so that `predsnap view close` takes away what a killed tool leaves. One thread at a time.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "target.h"
#include "views.h"

struct nbd_handle;

namespace predsnap {

class MomentView {
  public:
    // `options`: how the user named the target, which must outlive this. Errors name the target.
    static Result<std::unique_ptr<MomentView>> open(Target& target, const TargetOptions& options, int64_t sequence);
    ~MomentView();
    MomentView(const MomentView&) = delete;
    MomentView& operator=(const MomentView&) = delete;

    uint64_t size() const { return size_; }
    // Bytes; past the end of the disk they are zeros. What was read last is kept for a while.
    Result<void> read(uint64_t offset, std::span<uint8_t> into);

  private:
    struct Piece {
        uint64_t number;
        std::vector<uint8_t> bytes;
    };
    MomentView(Target& target, const TargetOptions& options);
    Result<void> serve(int64_t sequence);
    Result<void> serve_own();
    Result<void> connect();
    Result<const Piece*> piece(uint64_t number);

    Target& target_;
    ViewRecord view_;
    nbd_handle* handle_ = nullptr;
    uint64_t size_ = 0;
    std::list<Piece> recent_;  // newest first
    std::unordered_map<uint64_t, std::list<Piece>::iterator> by_number_;
};

}  // namespace predsnap
