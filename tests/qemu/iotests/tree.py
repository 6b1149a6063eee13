# SPDX-License-Identifier: GPL-2.0-or-later
"""A copy of QEMU's iotests, to run in.

A build may change QEMU's tree while tests run, and tests leave files in it. So each run takes a copy. What predsnap
is expected to print differently than the format a reference output was made with is in expected/*.diff; and
expected/renamed lists the tests whose reference only has to have the format's name in place of qcow2's.
"""
import re
import shutil
import subprocess
from pathlib import Path

from lib import paths
from catalog import FORMAT, lines_of
from lib.paths import MissingError

EXPECTED = Path(__file__).resolve().parent / "expected"
SUBDIR = "tests/qemu-iotests"
DIFF_FILES = re.compile(r"^--- a/(\S+).*\n\+\+\+ b/(\S+)", re.M)


def source_dir():
    """QEMU's patched source, which tools/build-qemu leaves beside the programs."""
    source = paths.qemu_bin_dir().parent / "source"
    if not (source / SUBDIR / "check").is_file():
        raise MissingError(f"{source}/{SUBDIR} is not there: run tools/build-qemu")
    return source.resolve()


def copy_tree(source, target):
    """Copies the iotests of `source` and puts the references of predsnap in; the copy's folder."""
    iotests = Path(target, SUBDIR)
    shutil.copytree(
        source / SUBDIR,
        iotests,
        symlinks=True,
        ignore=shutil.ignore_patterns("__pycache__", "scratch"),
    )
    for name in ("python", "scripts"):
        Path(target, name).symlink_to(source / name)
    for name in lines_of(EXPECTED / "renamed"):
        reference = (iotests / f"{name}.out").read_text(encoding="utf-8")
        (iotests / f"{name}.out.{FORMAT}").write_text(
            reference.replace("qcow2", FORMAT), encoding="utf-8"
        )
    for diff in sorted(EXPECTED.glob("*.diff")):
        add_reference(iotests, diff)
    return iotests


def add_reference(iotests, diff):
    files = DIFF_FILES.search(diff.read_text(encoding="utf-8"))
    if not files:
        raise MissingError(f"{diff} does not say which reference it changes into which")
    reference, changed = (iotests / name for name in files.groups())
    done = subprocess.run(
        ["patch", "--quiet", f"--output={changed}", reference, diff],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MissingError(f"{diff} does not apply to {reference.name}: {done.stdout.strip()}")
