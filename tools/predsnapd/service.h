// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a service tells the manager that started it (systemd, by sd_notify). Without a manager nothing happens.
#pragma once

namespace predsnap::predict {

void service_ready(const char* status);
void service_reloading();
void service_stopping();
// From now on the manager is told in time that the main loop goes round, if it wants to know. In its thread.
void service_watch();

}  // namespace predsnap::predict
