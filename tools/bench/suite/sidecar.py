# SPDX-License-Identifier: GPL-2.0-or-later
"""predsnapd beside a daemon: it follows the disk's access log and says what will be written and read next."""
from contextlib import contextmanager

from lib.process import Process


def monitor(work):
    """The daemon's arguments for a monitor of predsnapd's own."""
    return ["--chardev", f"socket,id=sidecar,path={work / 'sidecar.qmp'},server=on,wait=off", "--monitor", "chardev=sidecar"]


@contextmanager
def following(program, work, node):
    """While it runs. What it learnt stays in `work`. Where all is used alike it has nothing to tell."""
    name = node["node-name"]
    log = work / "predsnapd.log"
    disk = f"name={name},log={node['access-log']},qmp={work / 'sidecar.qmp'},node={name}"
    options = [f"--state={work / 'predsnapd.state'}", f"--disk={disk}"]
    process = Process("predsnapd", [program, "run", *options], log)
    try:
        yield
        process.require_alive()
    finally:
        process.kill()
