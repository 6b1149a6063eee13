# SPDX-License-Identifier: GPL-2.0-or-later
"""The storage daemon is killed with -9 again and again, at random moments, while clients write."""
import random
import threading
import time

from case import QemuTest, Settings, node
from crash_client import Client, Historian, Point
from crash_model import SECTOR, Ledger, numbers_of
from lib import image
from lib.qmp import QmpClosed, QmpError

SECTORS = 4096
KILLS_PER_IMAGE = 20
POINTS_PER_KILL = 6


class Killed(QemuTest):
    def start(self, number, clients):
        """A new image; what is known of it."""
        self.draw = random.Random(f"{Settings.seed} {clients} {number}")
        segment_size = self.draw.choice(("64k", "256k", "1M", "8M"))
        self.path = self.create(
            f"disk{number}.pds", str(SECTORS * SECTOR), options=[f"segment_size={segment_size}"]
        )
        self.ledger = Ledger(SECTORS, clients)
        self.points = []
        self.what = f"seed {Settings.seed}, image {number}, segments of {segment_size}"

    def open(self):
        daemon = self.daemon()
        daemon.add(node("disk", self.path))
        return daemon, daemon.serve("disk")

    def view(self, daemon, where):
        return numbers_of(daemon.read_view(SECTORS * SECTOR, **where))

    def require_disk(self, disk):
        held = numbers_of(disk.read(0, SECTORS * SECTOR))
        self.ledger.require_state(held)
        return held

    def require_point(self, daemon, point):
        try:
            held = self.view(daemon, point.where)
        except QmpError as e:
            if not point.sure and "snapshot" in e.desc:
                return  # the command was cut off before it took effect
            raise
        self.assertEqual(held, point.numbers, f"point {point.where}")

    def kill_soon(self, daemon):
        """Sometimes while the image is still being opened or made ready, sometimes well into the work, sometimes
        while the daemon ends in order."""
        kind = self.draw.random()
        time.sleep(self.draw.random() * (0.01 if kind < 0.2 else 0.4))
        if kind > 0.85:
            quitter = threading.Thread(target=self.quit, args=(daemon,))
            quitter.start()
            time.sleep(self.draw.random() * 0.01)
            daemon.process.kill()
            quitter.join()
        daemon.process.kill()

    def quit(self, daemon):
        try:
            daemon.qmp.execute("quit")
        except (QmpClosed, OSError):
            pass

    def kills(self):
        """The share of the kills that one of the two tests does, in runs of one image each."""
        left = (Settings.kills + 1) // 2
        number = 0
        while left > 0:
            yield number, min(left, KILLS_PER_IMAGE)
            left -= KILLS_PER_IMAGE
            number += 1

    def test_one_client_that_knows_every_point(self):
        for number, kills in self.kills():
            self.start(number, clients=1)
            with self.subTest(self.what):
                for kill in range(kills):
                    self.one_client_round(f"k{kill}")
                self.last_look()
            self.path.unlink()

    def one_client_round(self, name):
        daemon, disk = self.open()
        held = self.require_disk(disk)
        self.ledger.settle(held)
        for point in self.draw.sample(self.points, min(POINTS_PER_KILL, len(self.points))):
            self.require_point(daemon, point)
        for point in self.points[-3:]:
            self.require_point(daemon, point)
        # What was cut off may or may not have been done: it proves nothing later on.
        self.points = [point for point in self.points if point.sure]
        client = Historian(self.ledger, disk, self.draw, daemon, self.points, name)
        client.start()
        self.kill_with_own_dice(daemon)
        client.finish()
        daemon.kill()

    def kill_with_own_dice(self, daemon):
        """The client draws from self.draw at the same time."""
        dice, self.draw = self.draw, random.Random(self.draw.random())
        try:
            time.sleep(self.draw.random() * 0.4 if self.draw.random() < 0.8 else 0.01)
            daemon.process.kill()
        finally:
            self.draw = dice

    def last_look(self):
        """At every point there ever was, and at the whole image."""
        daemon, disk = self.open()
        self.require_disk(disk)
        for point in self.points:
            self.require_point(daemon, point)
        daemon.quit()
        image.check(self.path, "predsnap")

    def test_four_clients_that_write_at_once(self):
        for number, kills in self.kills():
            self.start(number, clients=4)
            with self.subTest(self.what):
                for kill in range(kills):
                    self.four_clients_round(f"k{kill}")
                self.last_look()
            self.path.unlink()

    def four_clients_round(self, name):
        daemon, disk = self.open()
        first = daemon.info()["sequence"]
        clients = []
        for region in self.ledger.regions:
            draw = random.Random(self.draw.random())
            clients.append(Client(self.ledger, region, daemon.connect("disk"), draw))
        for client in clients:
            client.start()
        snapshots = self.snapshots_meanwhile(daemon, name)
        self.kill_soon(daemon)
        for client in clients:
            client.finish()
        daemon.kill()
        self.look_after_four_clients(snapshots, first)

    def snapshots_meanwhile(self, daemon, name):
        """(name, when asked for, when answered) of each."""
        made = []
        for number in range(self.draw.randint(0, 3)):
            time.sleep(self.draw.random() * 0.1)
            asked = self.ledger.tick()
            daemon.snapshot(f"{name}-{number}")
            made.append((f"{name}-{number}", asked, self.ledger.tick()))
        return made

    def look_after_four_clients(self, snapshots, first):
        daemon, disk = self.open()
        held = self.require_disk(disk)
        for name, asked, answered in snapshots:
            at = {"snapshot": name}
            numbers = self.view(daemon, at)
            self.ledger.require_state(numbers, after=asked, before=answered)
            self.points.append(Point(numbers, at))
        new = [p for p in daemon.points() if p["flush"] and p["sequence"] > first]
        for flush in self.draw.sample(new, min(POINTS_PER_KILL, len(new))):
            at = {"sequence": flush["sequence"]}
            numbers = self.view(daemon, at)
            self.ledger.require_state(numbers, after=0)
            self.points.append(Point(numbers, at))
        self.ledger.settle(held)
        for point in self.draw.sample(self.points, min(POINTS_PER_KILL, len(self.points))):
            self.require_point(daemon, point)
        daemon.kill()
