# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk's life in random steps through the monitor, beside plain copies of what it must hold."""
import itertools
import random
from dataclasses import dataclass

from case import QemuTest, Settings, after_us, content, node
from lib import image

SIZE = 1 << 20
SIZES = (SIZE // 2, SIZE, SIZE + 512 * 37, SIZE * 2)
LIVES = 6
STEPS = 250
SECTOR = 512


@dataclass
class Known:
    """What the disk held at a moment that can be gone back to."""

    held: bytes
    where: dict


class Life(QemuTest):
    def begin(self, number):
        self.draw = random.Random(f"{Settings.seed} life {number}")
        self.base = content(f"base {number}", SIZE)
        backing = (self.raw("base.raw", self.base), "raw") if number % 2 else None
        self.backing = "base" if backing else None
        segment = self.draw.choice(("64k", "128k", "1M"))
        self.path = self.create(
            f"life{number}.pds", str(SIZE), options=[f"segment_size={segment}"], backing=backing
        )
        self.now = bytearray(self.base if backing else SIZE)
        self.known = []
        self.views = {}
        self.snapshots = 0
        self.names = itertools.count()
        self.daemon_ = None
        self.open()

    def node(self, **options):
        return node("disk", self.path, backing=self.backing, **{"point-interval": 50, **options})

    def open(self):
        self.daemon_ = self.daemon()
        if self.backing:
            file = image.file_node(self.work / "base.raw")
            self.daemon_.add(
                {"driver": "raw", "node-name": "base", "read-only": True, "file": file}
            )
        self.daemon_.add(self.node())
        self.disk = self.daemon_.serve("disk")
        self.views = {}

    def test_random_lives(self):
        for number in range(LIVES):
            with self.subTest(f"seed {Settings.seed}, life {number}"):
                try:
                    self.live(number)
                finally:
                    self.daemon_.kill()

    def live(self, number):
        self.begin(number)
        for _ in range(STEPS):
            self.step()
        self.look_at_everything()
        self.close()
        image.check(self.path, "predsnap")

    def step(self):
        steps = (
            (60, self.write),
            (10, self.erase),
            (10, self.read),
            (8, self.flush),
            (3, self.snapshot),
            (1, self.delete_snapshot),
            (3, self.look_back),
            (2, self.open_view),
            (1, self.close_view),
            (2, self.rollback),
            (1, self.resize),
            (1, self.read_only_and_back),
            (1, self.end_and_begin),
            (1, self.kill_and_begin),
        )
        kinds = [kind for _, kind in steps]
        self.draw.choices(kinds, [weight for weight, _ in steps])[0]()

    def _range(self):
        length = min(self.draw.choice((1, 1, 3, 8, 8, 40, 200)), len(self.now) // SECTOR)
        start = self.draw.randrange(len(self.now) // SECTOR - length + 1)
        return start * SECTOR, length * SECTOR

    def write(self):
        at, length = self._range()
        self.now[at : at + length] = data = self.draw.randbytes(length)
        self.disk.write(at, data, fua=self.draw.random() < 0.05)

    def erase(self):
        at, length = self._range()
        self.now[at : at + length] = bytes(length)
        self.draw.choice((self.disk.trim, self.disk.write_zeroes))(at, length)

    def read(self):
        at, length = self._range()
        self.assertEqual(self.disk.read(at, length), self.now[at : at + length])

    def flush(self):
        self.disk.flush()
        self.remember({"time": after_us()})

    def remember(self, where):
        self.known.append(Known(bytes(self.now), where))

    def snapshot(self):
        self.snapshots += 1
        made = self.daemon_.snapshot(f"s{self.snapshots}")
        self.remember({"snapshot": made["name"]})
        self.remember({"sequence": made["sequence"]})

    def delete_snapshot(self):
        names = [k for k in self.known if "snapshot" in k.where]
        if names:
            gone = self.draw.choice(names)
            self.known.remove(gone)
            self.daemon_.qmp.execute(
                "predsnap-snapshot-delete", node_name="disk", name=gone.where["snapshot"]
            )

    def look_back(self):
        if self.known:
            self.look_at(self.draw.choice(self.known))

    def look_at(self, known):
        held = self.daemon_.read_view(len(known.held) + SECTOR, **known.where)
        self.assertEqual(len(held), len(known.held), known.where)
        self.assertTrue(held == known.held, f"view of {known.where} is wrong")

    def open_view(self):
        if self.known and len(self.views) < 4:
            name = f"view{next(self.names)}"
            known = self.draw.choice(self.known)
            self.daemon_.add_view(name, **known.where)
            self.views[name] = (self.daemon_.serve(name, writable=False), known)

    def close_view(self):
        if self.views:
            name = self.draw.choice(sorted(self.views))
            self.look_at_view(name)
            del self.views[name]
            self.daemon_.stop_serving(name)
            self.daemon_.remove(name)

    def look_at_view(self, name):
        client, known = self.views[name]
        held = client.read(0, len(known.held))
        self.assertTrue(held == known.held, f"open view of {known.where} has changed")

    def rollback(self):
        """The size may change, which an NBD client would not notice."""
        if self.known:
            known = self.draw.choice(self.known)
            self.daemon_.stop_serving("disk")
            done = self.daemon_.rollback(**known.where)
            self.now = bytearray(known.held)
            self.assertEqual(done["size"], len(self.now))
            self.disk = self.daemon_.serve("disk")
            self.require_now()

    def resize(self):
        size = self.draw.choice(SIZES)
        self.daemon_.stop_serving("disk")
        self.daemon_.qmp.execute("block_resize", node_name="disk", size=size)
        self.now = self.now[:size] + bytes(max(0, size - len(self.now)))
        self.disk = self.daemon_.serve("disk")
        self.require_now()

    def require_now(self):
        self.assertEqual(self.disk.size, len(self.now))
        self.assertTrue(self.disk.read(0, len(self.now)) == self.now, "the disk is wrong")

    def read_only_and_back(self):
        self.daemon_.stop_serving("disk")
        for read_only in (True, False):
            options = self.node(**{"read-only": read_only})
            self.daemon_.qmp.execute("blockdev-reopen", options=[options])
            for name in self.views:
                self.look_at_view(name)
        self.disk = self.daemon_.serve("disk")

    def close(self):
        for name in sorted(self.views):
            self.daemon_.stop_serving(name)
        self.daemon_.quit()

    def end_and_begin(self):
        self.close()
        self.open()
        self.require_now()

    def kill_and_begin(self):
        self.flush()
        self.daemon_.kill()
        self.open()
        self.require_now()

    def look_at_everything(self):
        self.require_now()
        for name in self.views:
            self.look_at_view(name)
        for known in self.known:
            self.look_at(known)
