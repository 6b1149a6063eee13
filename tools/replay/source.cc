// SPDX-License-Identifier: GPL-2.0-or-later
#include "source.h"

namespace predsnap::replay {

Result<Source> Source::open(const SourceOptions& options) {
    TRY_ASSIGN(Placement placement, Placement::of(options.trace, options.placement));
    TRY_ASSIGN(TraceReader reader, TraceReader::open(options.trace));
    Source source(std::move(placement), std::move(reader), options.placement.until_us);
    TRY(source.advance());
    return source;
}

Result<void> Source::advance() {
    TRY_ASSIGN(std::optional<Request> request, reader_.next());
    if (!request || request->time_us >= until_us_) {
        next_.reset();
        return {};
    }
    next_ = placement_.place(*request);
    return {};
}

}  // namespace predsnap::replay
