# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk behind qemu-storage-daemon, and fio as its NBD client."""
import json
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from lib.daemon import StorageDaemon
from lib.process import run

from . import sidecar

NODE = "disk"
RAMP_S = 0.5  # before fio measures


@contextmanager
def exported(work, node, objects=(), predsnapd=None):
    """The daemon, with the node as NBD export; it ends in order afterwards. `objects`: what the node needs; `predsnapd`: the
    program, which then follows the node's access log, if it has one."""
    node = {**node, "node-name": NODE}
    followed = predsnapd is not None and "access-log" in node
    with StorageDaemon(work, *(sidecar.monitor(work) if followed else ())) as daemon:
        for made in objects:
            daemon.qmp.command("object-add", made)
        daemon.qmp.command("blockdev-add", node)
        address = {"type": "unix", "data": {"path": str(work / "nbd.socket")}}
        daemon.qmp.command("nbd-server-start", {"addr": address})
        export = {"type": "nbd", "id": "export", "node-name": NODE, "writable": True}
        daemon.qmp.command("block-export-add", export)
        with sidecar.following(predsnapd, work, node) if followed else nullcontext():
            yield daemon


@dataclass(frozen=True)
class FioLoad:
    """A pattern of 4 KiB requests in random order."""

    write: bool
    depth: int
    flush: bool = False
    rate: int | None = None  # requests a second; None: as many as can be

    def options(self):
        yield "--rw=randwrite" if self.write else "--rw=randread"
        yield f"--iodepth={self.depth}"
        if self.flush:
            yield "--fsync=1"
        if self.rate:
            yield f"--rate_iops={self.rate}"


def fio(work, load, seconds):
    """Requests a second."""
    return _run_fio(work, load, seconds)["iops"]


def fio_p99(work, load, seconds):
    """The 99th percentile of the requests' latencies, in microseconds."""
    return _run_fio(work, load, seconds)["clat_ns"]["percentile"]["99.000000"] / 1000


def _run_fio(work, load, seconds):
    report = run(
        [
            *(
                "fio",
                "--name=bench",
                "--ioengine=nbd",
                "--bs=4k",
                "--norandommap",
                "--randrepeat=0",
            ),
            f"--uri=nbd+unix:///{NODE}?socket={work / 'nbd.socket'}",
            *("--time_based", f"--runtime={seconds}", f"--ramp_time={RAMP_S}"),
            *load.options(),
            "--output-format=json",
        ]
    )
    # The library writes a line before the report when a server lacks an extension it likes.
    job = json.loads(report[report.index("{") :])["jobs"][0]
    return job["write" if load.write else "read"]
