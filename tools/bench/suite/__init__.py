# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures predsnap beside the other disks QEMU has; see tools/bench/peers."""
