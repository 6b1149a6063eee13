# SPDX-License-Identifier: GPL-2.0-or-later
"""Monitor commands of every kind on a disk that clients never stop writing to, in the daemon's main thread or in
another one."""
import itertools
import random

from case import QemuTest, Settings, node
from crash_client import Client
from crash_model import SECTOR, Ledger, numbers_of
from lib import image

SECTORS = 4096
CLIENTS = 3
COMMANDS = 60


class Busy(QemuTest):
    def begin(self, *extra, **export):
        self.draw = random.Random(f"{Settings.seed} busy {extra}")
        self.names = itertools.count()
        self.after = 0  # sequence number from which on the history is the clients'
        self.path = self.create(size=str(SECTORS * SECTOR), options=["segment_size=256k"])
        self.daemon_ = self.daemon(*extra)
        self.daemon_.add(node("disk", self.path))
        self.ledger = Ledger(SECTORS, CLIENTS)
        self.disk = self.daemon_.serve("disk", **export)
        self.clients = [
            Client(
                self.ledger,
                region,
                self.daemon_.connect("disk"),
                random.Random(self.draw.random()),
                trims=False,
            )
            for region in self.ledger.regions
        ]

    def keep_busy(self):
        """Commands, then the end: everything that was answered is there."""
        for client in self.clients:
            client.start()
        try:
            for _ in range(COMMANDS):
                self.draw.choice(
                    (
                        self.snapshot_and_view,
                        self.view_of_a_point,
                        self.reopen,
                        self.backup,
                        self.cover_and_commit,
                        self.query,
                        self.bitmap,
                    )
                )()
                self.require_progress()
        finally:
            for client in self.clients:
                client.stop.set()
            for client in self.clients:
                client.finish()
        self.assertEqual(self.held(self.disk), self.ledger.now())
        self.daemon_.quit()
        self.check()

    def require_progress(self):
        """The clients go on: nobody waits for ever."""
        done = [len(client.region.requests) for client in self.clients]
        for client, before in zip(self.clients, done):
            while len(client.region.requests) == before:
                client.join(0.01)
                self.assertTrue(client.is_alive(), client.failure)

    def held(self, client):
        return numbers_of(client.read(0, self.ledger.sectors * SECTOR))

    def view(self, **where):
        return numbers_of(self.daemon_.read_view(self.ledger.sectors * SECTOR, **where))

    def snapshot_and_view(self):
        name = f"s{next(self.names)}"
        asked = self.ledger.tick()
        self.daemon_.snapshot(name)
        answered = self.ledger.tick()
        self.ledger.require_state(self.view(snapshot=name), after=asked, before=answered)
        if self.draw.random() < 0.5:
            self.daemon_.qmp.execute("predsnap-snapshot-delete", node_name="disk", name=name)

    def view_of_a_point(self):
        points = [p for p in self.daemon_.points(limit=50) if p["sequence"] > self.after]
        if points:
            numbers = self.view(sequence=self.draw.choice(points)["sequence"])
            self.ledger.require_state(numbers, after=0)

    def reopen(self):
        options = node("disk", self.path, **{"point-interval": self.draw.choice((0, 10, 1000))})
        self.daemon_.qmp.execute("blockdev-reopen", options=[options])

    def query(self):
        info = self.daemon_.info()
        self.assertFalse(info["corrupt"])
        self.assertGreaterEqual(info["sequence"], info["durable"])
        self.daemon_.qmp.execute("query-named-block-nodes")

    def bitmap(self):
        self.daemon_.qmp.execute("block-dirty-bitmap-add", node="disk", name="dirty")
        self.daemon_.qmp.execute("block-dirty-bitmap-remove", node="disk", name="dirty")

    def overlay(self, driver):
        name = f"n{next(self.names)}"
        path = self.work / f"{name}.{driver}"
        image.create(path, driver, str(SECTORS * SECTOR))
        return name, path

    def backup(self):
        name, path = self.overlay("qcow2")
        self.daemon_.add(image.format_node(name, "qcow2", path))
        asked = self.ledger.tick()
        self.daemon_.qmp.execute(
            "blockdev-backup",
            job_id="backup",
            device="disk",
            target=name,
            sync="full",
            auto_dismiss=False,
        )
        answered = self.ledger.tick()
        self.daemon_.qmp.wait_job("backup")
        with self.daemon_.serve(name, writable=False) as copy:
            self.ledger.require_state(self.held(copy), after=asked, before=answered)
        self.daemon_.stop_serving(name)
        self.daemon_.remove(name)
        path.unlink()

    def cover_and_commit(self):
        """An overlay is slid over the disk, and taken out again. A commit copies in an order of its own, so what
        the disk was meanwhile is no state that the clients made."""
        name, path = self.overlay("predsnap")
        self.daemon_.add(image.format_node(name, "predsnap", path, backing=None))
        self.daemon_.qmp.execute("blockdev-snapshot", node="disk", overlay=name)
        self.require_progress()
        self.daemon_.qmp.run_job("block-commit", job_id="commit", device=name)
        self.after = self.daemon_.info()["sequence"]
        self.daemon_.remove(name)
        path.unlink()

    def test_in_the_main_thread(self):
        self.begin()
        self.keep_busy()

    def test_in_a_thread_of_its_own(self):
        # Not fixed, QEMU 10.0 aborts on blockdev-backup of a disk of any format (bdrv_insert_node).
        fixed = {"iothread": "thread0", "fixed-iothread": True}
        self.begin("--object", "iothread,id=thread0", **fixed)
        self.keep_busy()
