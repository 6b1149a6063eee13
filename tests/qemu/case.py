# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of QEMU's programs start from."""
import random
import time
import unittest
from contextlib import contextmanager

from lib import image, workdir
from lib.daemon import StorageDaemon
from lib.nbd import NbdClient
from lib.qmp import QmpError

MIB = 1 << 20


class Settings:
    """From the command line."""

    kills = 200
    cuts = 600
    seed = 1


def now_us():
    """The time as the predsnap commands take it."""
    return time.time_ns() // 1000


def after_us():
    """A time that is later than everything done so far, and earlier than everything done from now on."""
    then = now_us()
    while now_us() <= then:
        pass
    return then


def content(seed, length):
    """Bytes that no two places share."""
    return random.Random(seed).randbytes(length)


def node(name, path, **options):
    """A predsnap node as blockdev-add takes it."""
    return image.format_node(name, "predsnap", path, **{"discard": "unmap", **options})


class Daemon(StorageDaemon):
    """A storage daemon that serves its nodes over NBD."""

    def __init__(self, work, *extra, name="daemon"):
        self.socket = work / f"{name}.nbd"
        super().__init__(work, *extra, name=name)
        self.qmp.command(
            "nbd-server-start", {"addr": {"type": "unix", "data": {"path": str(self.socket)}}}
        )
        self._clients = []

    def add(self, node_description):
        self.qmp.command("blockdev-add", node_description)

    def remove(self, name):
        self.qmp.execute("blockdev-del", node_name=name)

    def serve(self, name, writable=True, **options):
        """Exports a node under its own name; a client connected to it."""
        self.qmp.command(
            "block-export-add",
            {
                "type": "nbd",
                "id": f"nbd-{name}",
                "node-name": name,
                "name": name,
                "writable": writable,
                **options,
            },
        )
        return self.connect(name)

    def connect(self, name):
        client = NbdClient(self.socket, name)
        self._clients.append(client)
        return client

    def stop_serving(self, name):
        self.qmp.execute("block-export-del", id=f"nbd-{name}", mode="hard")
        self.qmp.wait_event("BLOCK_EXPORT_DELETED", id=f"nbd-{name}")

    def url(self, name):
        """What nbdinfo and qemu-img take."""
        return f"nbd+unix:///{name}?socket={self.socket}"

    def points(self, name="disk", **which):
        return self.qmp.execute("predsnap-query-points", node_name=name, **which)

    def snapshot(self, name, node_name="disk", **options):
        return self.qmp.execute(
            "predsnap-snapshot-create", node_name=node_name, name=name, **options
        )

    def rollback(self, node_name="disk", **where):
        return self.qmp.execute("predsnap-rollback", node_name=node_name, **where)

    def info(self, name="disk"):
        return self.qmp.execute("query-predsnap", node_name=name)[0]

    def add_view(self, name, chain="disk", **where):
        self.add({"driver": "predsnap-view", "node-name": name, "chain": chain, **where})

    @contextmanager
    def view(self, chain="disk", **where):
        """A client of the disk as it was at a moment."""
        self.add_view("moment", chain, **where)
        try:
            with self.serve("moment", writable=False) as client:
                yield client
            self.stop_serving("moment")
        finally:
            self.remove("moment")

    def read_view(self, length, chain="disk", **where):
        """What the disk's first bytes were at a moment."""
        with self.view(chain, **where) as client:
            return client.read(0, min(length, client.size))

    def kill(self):
        super().kill()
        for client in self._clients:
            client.close()


class QemuTest(unittest.TestCase):
    """One test: a folder, and whatever it starts is gone at its end, however it ends."""

    longMessage = True

    def setUp(self):
        self.work = workdir.WorkDir("qemu")
        self.addCleanup(self.work.close)

    def create(self, name="disk.pds", size="64M", options=(), backing=None):
        """A new predsnap image; backing: (path, format)."""
        arguments = [x for option in options for x in ("-o", option)]
        if backing:
            arguments += ["-b", str(backing[0]), "-F", backing[1]]
        path = self.work / name
        image.qemu_img(
            "create", "-q", "-f", "predsnap", *arguments, path, *([size] if size else [])
        )
        return path

    def raw(self, name, data):
        path = self.work / name
        path.write_bytes(data)
        return path

    def daemon(self, *extra):
        self.daemons = getattr(self, "daemons", 0) + 1
        daemon = Daemon(self.work, *extra, name=f"daemon{self.daemons}")
        self.addCleanup(daemon.kill)
        return daemon

    def daemon_with_disk(self, path=None, **options):
        """A daemon with the node "disk" on an image, a new one if none is given; a client too."""
        self.path = path or self.create()
        daemon = self.daemon()
        daemon.add(node("disk", self.path, **options))
        return daemon, daemon.serve("disk")

    def same_content(self, path, image_format, other, other_format):
        image.qemu_img("compare", "-f", image_format, "-F", other_format, path, other)

    def check(self, path=None):
        image.check(path or self.path, "predsnap")

    def refusal(self, what, *arguments, **keywords):
        """The text of the monitor's refusal."""
        with self.assertRaises(QmpError) as refused:
            what(*arguments, **keywords)
        return refused.exception.desc

    def assertSaysAll(self, text, *words):
        """An error must name the thing and the remedy."""
        for word in words:
            self.assertIn(str(word), text)
