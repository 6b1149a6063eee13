// SPDX-License-Identifier: GPL-2.0-or-later
#include "moment_view.h"

#include <libnbd.h>
#include <unistd.h>

#include <algorithm>

#include "view_exports.h"

namespace predsnap {
namespace {

constexpr uint64_t kPieceBytes = 256 << 10;
constexpr size_t kPiecesMax = 256;

}  // namespace

MomentView::MomentView(Target& target, const TargetOptions& options) : target_(target) {
    view_.kind = "nbd";
    view_.target = options;
    view_.target.node = target.is_live() ? target.node() : "";
    view_.name = target.name();
    view_.state = "read by 'predsnap diff'";
    view_.background = !target.is_live();
}

Result<std::unique_ptr<MomentView>> MomentView::open(Target& target, const TargetOptions& options, int64_t sequence) {
    std::unique_ptr<MomentView> view(new MomentView(target, options));
    TRY(reserve_view(&view->view_));
    TRY(view->serve(sequence));
    TRY(view->connect());
    return view;
}

Result<void> MomentView::serve(int64_t sequence) {
    TRY(target_
            .plain("blockdev-add", JsonMap()
                                       .set("driver", "predsnap-view")
                                       .set("node-name", view_.view_node())
                                       .set("chain", target_.node())
                                       .set("sequence", sequence)
                                       .done())
            .discard());
    return target_.is_live() ? export_nbd(target_, &view_, "") : serve_own();
}

// By the tool's own daemon, which ends with it: the first view starts the server.
Result<void> MomentView::serve_own() {
    TRY_ASSIGN(const std::string folder, runtime_folder());
    view_.socket = folder + "/diff-" + std::to_string(::getpid()) + ".nbd";
    view_.own_server = !somebody_listens(view_.socket);
    if (view_.own_server) {
        ::unlink(view_.socket.c_str());
        const Json address = JsonMap().set("type", "unix").set("data", JsonMap().set("path", view_.socket).done()).done();
        TRY(target_.plain("nbd-server-start", JsonMap().set("addr", address).done()).discard());
    }
    TRY(save_view(view_));
    return add_nbd_export(target_, view_);
}

Result<void> MomentView::connect() {
    handle_ = nbd_create();
    if (handle_ == nullptr || nbd_set_export_name(handle_, view_.id.c_str()) != 0 || nbd_connect_unix(handle_, view_.socket.c_str()) != 0) {
        const int why = nbd_get_errno();
        return Error{why != 0 ? why : EIO, view_.name + ": " + nbd_get_error() +
                                               (why == EACCES ? ". Its machine is libvirt's system's: run predsnap as root" : "")};
    }
    size_ = static_cast<uint64_t>(nbd_get_size(handle_));
    return {};
}

MomentView::~MomentView() {
    if (handle_ != nullptr) {
        nbd_close(handle_);
    }
    take_down(target_, view_);
    if (view_.background && view_.own_server) {
        ::unlink(view_.socket.c_str());
    }
    forget_view(view_.id);
}

Result<const MomentView::Piece*> MomentView::piece(uint64_t number) {
    const auto found = by_number_.find(number);
    if (found != by_number_.end()) {
        recent_.splice(recent_.begin(), recent_, found->second);
        return &recent_.front();
    }
    const uint64_t begin = number * kPieceBytes;
    Piece next{number, std::vector<uint8_t>(kPieceBytes)};
    const uint64_t length = begin < size_ ? std::min(kPieceBytes, size_ - begin) : 0;
    if (length > 0 && nbd_pread(handle_, next.bytes.data(), length, begin, 0) != 0) {
        return Error{nbd_get_errno() != 0 ? nbd_get_errno() : EIO, view_.name + ": " + nbd_get_error()};
    }
    if (recent_.size() >= kPiecesMax) {
        by_number_.erase(recent_.back().number);
        recent_.pop_back();
    }
    recent_.push_front(std::move(next));
    by_number_[number] = recent_.begin();
    return &recent_.front();
}

Result<void> MomentView::read(uint64_t offset, std::span<uint8_t> into) {
    while (!into.empty()) {
        TRY_ASSIGN(const Piece* from, piece(offset / kPieceBytes));
        const uint64_t within = offset % kPieceBytes;
        const size_t count = std::min<uint64_t>(into.size(), kPieceBytes - within);
        std::copy_n(from->bytes.begin() + static_cast<ptrdiff_t>(within), count, into.begin());
        into = into.subspan(count);
        offset += count;
    }
    return {};
}

}  // namespace predsnap
