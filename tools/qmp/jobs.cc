// SPDX-License-Identifier: GPL-2.0-or-later
#include "jobs.h"

namespace predsnap::qmp {

Result<Json> find_job(Monitor& monitor, const std::string& id) {
    TRY_ASSIGN(const Json jobs, monitor.execute("query-jobs"));
    for (size_t i = 0; i < jobs.size(); ++i) {
        if (jobs[i]["id"].string() == id) {
            return jobs[i];
        }
    }
    return Json();
}

}  // namespace predsnap::qmp
