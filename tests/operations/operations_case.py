# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests here share: predsnapd, a disk that it watches, a manager that it reports to."""
import http.client
import os
import re
import signal
import socket
import time
import unittest

from lib import paths
from lib.daemon import StorageDaemon
from lib.image import create, file_node
from lib.nbd import NbdClient
from lib.process import Process, wait_until
from lib.workdir import WorkDir

PREDSNAPD = paths.CHECKOUT / "build/tools/predsnapd/predsnapd"
PREDSNAP = paths.CHECKOUT / "build/tools/predsnap/predsnap"
SERVICES = paths.CHECKOUT / "tools/services"
KIB, MIB = 1 << 10, 1 << 20


class Disk:
    """A node "disk" in a storage daemon, with a monitor for predsnapd at `monitor`, and a client that writes."""

    def __init__(self, work, name="vm", **options):
        self.name = name
        self.monitor = work / f"{name}.monitor"
        self.log = work / f"{name}.access.log"
        self.image = work / f"{name}.pds"
        if not self.image.exists():
            create(self.image, "predsnap", "64M")
        self.daemon = StorageDaemon(work, "--chardev", f"socket,id=m,path={self.monitor},server=on,wait=off",
                                    "--monitor", "chardev=m", name=name)
        qmp = self.daemon.qmp
        qmp.command("blockdev-add", {"driver": "predsnap", "node-name": "disk", "file": file_node(self.image),
                                     "access-log": str(self.log), **options})
        path = str(work / f"{name}.nbd")
        qmp.command("nbd-server-start", {"addr": {"type": "unix", "data": {"path": path}}})
        qmp.command("block-export-add", {"id": "e", "type": "nbd", "node-name": "disk", "name": "disk", "writable": True})
        self.client = NbdClient(path, "disk")

    def config(self, **more):
        """Its group in a configuration file."""
        keys = {"log": self.log, "qmp": self.monitor, "node": "disk", **more}
        return f"[disk {self.name}]\n" + "".join(f"{key}={value}\n" for key, value in keys.items())

    def stop_answering(self):
        os.kill(self.daemon.pid, signal.SIGSTOP)

    def close(self):
        if self.daemon.process.exit_status is None:
            os.kill(self.daemon.pid, signal.SIGCONT)
        self.client.close()
        self.daemon.kill()


class Manager:
    """What systemd is to a service: the socket that it reports to."""

    def __init__(self, path):
        self.path, self.lines = path, []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def has(self, line):
        """Whether it was told that since forget()."""
        try:
            while True:
                self.lines += self._socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            pass
        return any(said.startswith(line) for said in self.lines)

    def forget(self):
        self.has("")
        self.lines.clear()

    def close(self):
        self._socket.close()


class OperationsTest(unittest.TestCase):
    def setUp(self):
        self.work = WorkDir("operations")
        self.addCleanup(self.work.close)
        self.metrics = self.work / "metrics.sock"
        self._count = 0

    def disk(self, name="vm", **options):
        disk = Disk(self.work, name, **options)
        self.addCleanup(disk.close)
        return disk

    def config(self, *groups, **daemon):
        path = self.work / "predsnapd.conf"
        keys = {"state": self.work / "state", "metrics": self.metrics, "tick": 1, **daemon}
        path.write_text("[daemon]\n" + "".join(f"{key}={value}\n" for key, value in keys.items()) + "\n".join(groups),
                        encoding="utf-8")
        return path

    def predsnapd(self, *arguments, environment=None, wait=True):
        self._count += 1
        prefix = ["env", *(f"{key}={value}" for key, value in (environment or {}).items())]
        process = Process("predsnapd", [*prefix, PREDSNAPD, "run", *arguments], self.work / f"predsnapd-{self._count}.log")
        self.addCleanup(process.kill)
        if wait:
            wait_until(self.metrics.exists, "the metrics", process=process)
        return process

    def page(self, path="/metrics", method="GET"):
        """Status and text of what predsnapd serves."""
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20)
        connection.sock.connect(str(self.metrics))
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name, **labels):
        """The value of the sample with these labels; None if there is none."""
        for line in self.page()[1].splitlines():
            found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
            if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                return float(found[2])
        return None

    def wait_for(self, name, value, timeout_s=60, **labels):
        """Until the sample has that value; `value` may be a condition."""
        fits = value if callable(value) else lambda seen: seen == value
        def there():
            seen = self.metric(name, **labels)
            return seen is not None and fits(seen)
        wait_until(there, f"{name} {labels} to be {value}", timeout_s)
