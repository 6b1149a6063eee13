# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of tools/quickstart: build (what must be there first), disks (predsnap and qcow2, alike), story
(what happens), screen (how it is told)."""
