// SPDX-License-Identifier: GPL-2.0-or-later
#include "index_ahead.h"

#include <algorithm>
#include <utility>

namespace predsnap {

IndexAhead::IndexAhead(Core& core, IndexCache& indexes, std::vector<SegmentId> ids, size_t ahead)
    : core_(core), indexes_(indexes), ids_(std::move(ids)), slots_(ahead) {
    for (size_t i = 0; i < std::min(ahead, ids_.size()); ++i) {
        load(i);
    }
}

void IndexAhead::load(size_t i) {
    Slot& slot = slots_[i % slots_.size()];
    slot.loading = std::make_unique<TaskGroup>(core_.host, 1);
    slot.loading->run([this, &slot, id = ids_[i]]() -> Result<void> {
        TRY_ASSIGN(slot.index, indexes_.load(id));
        return {};
    });
}

Result<SegmentIndex> IndexAhead::next() {
    Slot& slot = slots_[next_ % slots_.size()];
    TRY(slot.loading->wait());
    SegmentIndex index = std::move(*slot.index);
    const size_t after = next_++ + slots_.size();
    if (after < ids_.size()) {
        load(after);
        core_.host.yield();  // so that it begins before this one is looked at
    }
    return index;
}

}  // namespace predsnap
