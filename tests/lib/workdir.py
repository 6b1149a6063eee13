# SPDX-License-Identifier: GPL-2.0-or-later
"""A temporary folder that goes away with its test."""
import os
import shutil
import tempfile
from pathlib import Path

from .paths import MissingError


class WorkDir:
    """A folder for one test's images, sockets and logs; `with WorkDir() as work:`, then work / "disk.img".

    Not in /tmp: that is often a tmpfs, which has no O_DIRECT and is short of space. With PREDSNAP_KEEP set (or
    keep=True) the folder stays.
    """

    def __init__(self, name="test", keep=None):
        parent = os.environ.get("PREDSNAP_TMP") or "/var/tmp"
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"predsnap-{name}-", dir=parent))
        except OSError as e:
            raise MissingError(
                f"no folder can be made in {parent} ({e.strerror}): set PREDSNAP_TMP"
            ) from None
        self.keep = bool(os.environ.get("PREDSNAP_KEEP")) if keep is None else keep

    def __truediv__(self, name):
        return self.path / name

    def __str__(self):
        return str(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
