# SPDX-License-Identifier: GPL-2.0-or-later
"""The disks a trace is replayed on: how each is made, takes a point, and shows the disk as it was at one.
All begin empty, without a disk below, so that all the space they take is theirs."""
import os
from contextlib import contextmanager

from lib import image, paths
from lib.daemon import StorageDaemon
from lib.process import Process, ProcessError, wait_until

from . import daemon, usage
from .peers import SUBCLUSTER_OPTIONS, format_node


def serve(backend, work, name):
    """Starts serving nodes of a daemon over NBD at work/name."""
    address = {"type": "unix", "data": {"path": str(work / name)}}
    backend.qmp.command("nbd-server-start", {"addr": address})


def export(backend, node, **options):
    backend.qmp.command(
        "block-export-add", {"type": "nbd", "id": f"x-{node}", "node-name": node, **options}
    )


def stop_export(backend, node):
    backend.qmp.execute("block-export-del", id=f"x-{node}", mode="hard")
    backend.qmp.wait_event("BLOCK_EXPORT_DELETED", id=f"x-{node}")


class ReplayDisk:
    """One disk for one trace. point() is called while it is exported and nothing is in flight."""

    label = ""
    driver = ""
    node_options = {}
    create_options = ()

    def __init__(self, work, size, options):
        self.work = work
        self.size = size
        self.path = work / f"{self.label}.img"
        self.options = options  # of predsnap nodes, from the command line
        self.create(self.path)

    def create(self, path, *arguments):
        options = [x for option in self.create_options for x in ("-o", option)]
        image.create(path, self.driver, self.size, *options, *arguments)

    def node(self):
        return format_node(self.driver, self.path, **self.node_options)

    def files(self):
        return [self.path]

    def point(self, backend, name):
        """Makes a point, of a name that is new."""

    def counters(self, backend):
        """What the disk itself counts and says of its state; nothing for most."""
        return {}

    @contextmanager
    def served(self, state=None):
        """The URI of the disk as it is in its files now that nobody has them open, or as it was at a point."""
        with StorageDaemon(self.work, name="reader") as backend:
            serve(backend, self.work, "reader.socket")
            node = self.add_state(backend, state)
            export(backend, node)
            yield f"nbd+unix:///{node}?socket={self.work / 'reader.socket'}"
            stop_export(backend, node)

    def add_state(self, backend, state):
        """The name of a node that shows it."""
        assert state is None, f"{self.label} has no points"
        backend.qmp.command("blockdev-add", {**self.node(), "node-name": daemon.NODE, "read-only": True})
        return daemon.NODE

    def check(self):
        """Looks whether the images are in order; raises if not."""
        for path in self.files():
            image.check(path, self.driver)

    def remove(self):
        for path in self.files():
            path.unlink(missing_ok=True)


class Raw(ReplayDisk):
    label = "raw"
    driver = "raw"

    def check(self):
        """There is nothing that could be out of order."""


class Predsnap(ReplayDisk):
    """A user's snapshot at each point, and no history beside."""

    label = "predsnap"
    driver = "predsnap"
    node_options = {"cdp-window": 0}

    def node(self):
        return {**super().node(), **self.options}

    def point(self, backend, name):
        backend.qmp.execute("predsnap-snapshot-create", node_name=daemon.NODE, name=name)

    def counters(self, backend):
        said = backend.qmp.execute("query-predsnap", node_name=daemon.NODE)[0]
        del said["threshold"]  # it tells of ages: these change while nothing happens
        return said

    def add_state(self, backend, state):
        super().add_state(backend, None)
        if state is None:
            return daemon.NODE
        view = {"driver": "predsnap-view", "node-name": "then", "chain": daemon.NODE, "snapshot": state}
        backend.qmp.command("blockdev-add", view)
        return "then"


class PredsnapCdp(Predsnap):
    """All of history, and a user's snapshot at each point."""

    label = "predsnap-cdp"
    node_options = {"cdp-window": -1}


class Qcow2Overlays(ReplayDisk):
    """An overlay for each point: what was the top until then is that point."""

    label = "qcow2-overlays"
    driver = "qcow2"

    def __init__(self, work, size, options):
        super().__init__(work, size, options)
        self.tops = [(daemon.NODE, self.path)]
        self.at = {}  # points: the file that shows each

    def files(self):
        return [path for _, path in self.tops]

    def point(self, backend, name):
        below, path_below = self.tops[-1]
        path = self.work / f"{self.label}-{name}.img"
        self.create(path, "-b", path_below, "-F", self.driver)
        top = {**format_node(self.driver, path), "node-name": name, "backing": None}
        backend.qmp.command("blockdev-add", top)
        backend.qmp.execute("blockdev-snapshot", node=below, overlay=name)
        self.at[name] = path_below
        self.tops.append((name, path))

    def add_state(self, backend, state):
        path = self.tops[-1][1] if state is None else self.at[state]
        node = {**format_node(self.driver, path), "node-name": daemon.NODE, "read-only": True}
        backend.qmp.command("blockdev-add", node)
        return daemon.NODE


class Qcow2OverlaysSubclusters(Qcow2Overlays):
    label = "qcow2-overlays-4k"
    create_options = (SUBCLUSTER_OPTIONS,)


class Qcow2Snapshots(ReplayDisk):
    """An internal snapshot for each point."""

    label = "qcow2-snapshots"
    driver = "qcow2"

    def point(self, backend, name):
        backend.qmp.execute("blockdev-snapshot-internal-sync", device=daemon.NODE, name=name)

    @contextmanager
    def served(self, state=None):
        if state is None:
            with super().served() as uri:
                yield uri
            return
        # A block node cannot show an internal snapshot; qemu-nbd can.
        socket = self.work / "snapshot.socket"
        command = [
            *(paths.program("qemu-nbd"), "--read-only", "--format=qcow2", "--persistent"),
            *(f"--load-snapshot={state}", f"--socket={socket}", "--export-name=then", self.path),
        ]
        process = Process("qemu-nbd", command, self.work / "qemu-nbd.log")
        try:
            wait_until(socket.exists, "qemu-nbd's socket", process=process)
            yield f"nbd+unix:///then?socket={socket}"
        finally:
            process.kill()
            socket.unlink(missing_ok=True)


KINDS = {
    kind.label: kind
    for kind in (Predsnap, PredsnapCdp, Qcow2Overlays, Qcow2OverlaysSubclusters, Qcow2Snapshots, Raw)
}
REFERENCE = Qcow2Overlays.label
DEFAULT = ("predsnap", "predsnap-cdp", "qcow2-overlays", "qcow2-snapshots", "raw")
