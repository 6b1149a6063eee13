# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img and qemu-io, and block nodes as the monitor and the command line take them."""
import json
import subprocess

from . import paths
from .process import ProcessError, run

CHECK_FOUND_LEAKS = 3  # exit status of qemu-img check


def qemu_img(*args):
    return run([paths.program("qemu-img"), *args])


def create(path, image_format, size, *options):
    """Makes an image; size as qemu-img takes it."""
    qemu_img("create", "-q", "-f", image_format, *options, path, size)


def info(path, *args):
    return json.loads(qemu_img("info", "--output=json", *args, path))


def check(path, image_format, leaks_allowed=False):
    """The report of qemu-img check; raises when it finds anything wrong."""
    command = [paths.program("qemu-img"), "check", "--output=json", "-f", image_format, str(path)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    fine = (0, CHECK_FOUND_LEAKS) if leaks_allowed else (0,)
    if done.returncode not in fine:
        raise ProcessError(
            f"{path}: qemu-img check, status {done.returncode}: {done.stderr}{done.stdout}"
        )
    return json.loads(done.stdout)


def qemu_io(path, image_format, *commands, options=()):
    """Runs qemu-io commands in turn; their output. Raises when one fails."""
    args = [paths.program("qemu-io"), "-f", image_format, *options]
    for command in commands:
        args += ["-c", command]
    output = run([*args, path])
    for bad in ("failed:", "verification failed"):
        if bad in output:
            raise ProcessError(f"qemu-io: {output.strip()}")
    return output


def file_node(path, **options):
    return {"driver": "file", "filename": str(path), **options}


def format_node(name, image_format, path, file_options=None, **options):
    """A -blockdev or blockdev-add description of an image file."""
    return {
        "node-name": name,
        "driver": image_format,
        "file": file_node(path, **(file_options or {})),
        **options,
    }
