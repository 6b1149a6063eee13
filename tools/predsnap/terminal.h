// SPDX-License-Identifier: GPL-2.0-or-later
//
// The terminal the user sits at, if there is one.
#pragma once

#include <string>

#include "block/engine/result.h"

namespace predsnap {

// Of standard output; COLUMNS if that is set, 80 if it is no terminal.
size_t terminal_width();
bool output_is_terminal();
// Whether what is not ASCII is shown.
bool terminal_is_unicode();

// What must not happen by mistake: asks, or is told by --yes. Errors: ECANCELED if the answer is no, EPERM if there is
// nobody to ask.
Result<void> confirm(const std::string& question, bool yes);

// From now on Ctrl-C, and being told to end, do not end the program, but are noted here.
void catch_interrupts();
bool interrupted();
// Sleeps; less long if it is interrupted.
void pause_us(int64_t us);

// A line that is written over again, on standard error if that is a terminal.
class Progress {
  public:
    ~Progress() { clear(); }
    // `share`: from 0 to 1.
    void show(const std::string& what, double share);
    void clear();

  private:
    bool shown_ = false;
};

}  // namespace predsnap
