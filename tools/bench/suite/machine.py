# SPDX-License-Identifier: GPL-2.0-or-later
"""What the figures were measured on."""
import os
import platform
import subprocess
import time

from lib import paths
from lib.process import run


def _first_value(path, name):
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    return "unknown"


def load():
    """Processes that ran or wanted to, on average over the last minute."""
    return os.getloadavg()[0]


def available_memory():
    return int(_first_value("/proc/meminfo", "MemAvailable").split()[0]) * 1024


def _file_system(folder):
    """Type and device of the file system a folder is on."""
    fields = run(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "--target", folder]).split()
    return " on ".join(fields[:2])


def _commit():
    done = subprocess.run(
        ["git", "-C", paths.CHECKOUT, "describe", "--always", "--dirty"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def describe(folder):
    memory_kib = int(_first_value("/proc/meminfo", "MemTotal").split()[0])
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "cpu": f"{os.cpu_count()} × {_first_value('/proc/cpuinfo', 'model name')}",
        "memory": f"{memory_kib / (1 << 20):.0f} GiB",
        "file system": _file_system(folder),
        "kernel": platform.release(),
        "qemu": run([paths.program("qemu-img"), "--version"]).splitlines()[0],
        "fio": run(["fio", "--version"]).strip(),
        "load at start": f"{load():.2f}",
    }
