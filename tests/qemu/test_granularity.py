# SPDX-License-Identifier: GPL-2.0-or-later
"""How writes are logged: granularity, staging-bytes and weight."""
from case import MIB, QemuTest, content, node

PAGE = 4096


class GranularityCase(QemuTest):
    def start(self, **options):
        path = self.create(size="16M")
        self.daemon_, self.disk = self.daemon_with_disk(path, **options)
        self.pages = {}

    def write_page(self, number, version):
        """A page of which little depends on the version."""
        page = bytearray(content(f"page {number}", PAGE))
        page[0:8] = version.to_bytes(8, "little")
        page[100:140] = content(f"row {version}", 40)
        self.pages[number] = bytes(page)
        self.disk.write(number * PAGE, self.pages[number])

    def rewrite(self, pages, times):
        for version in range(times):
            for i in range(pages):
                self.write_page(i * 5 % pages if pages > 5 else i, version)  # not in order
        self.disk.flush()

    def assertHolds(self):
        for number, data in self.pages.items():
            self.assertEqual(self.disk.read(number * PAGE, PAGE), data, f"page {number}")

    def reopen(self, **options):
        self.daemon_.qmp.execute("blockdev-reopen", options=[node("disk", self.path, **options)])


class Granularity(GranularityCase):
    def test_pages_that_change_little_become_fine_by_themselves(self):
        self.start()
        self.rewrite(16, 12)
        info = self.daemon_.info()
        fine, staging = info["granularity"], info["staging"]
        self.assertEqual((fine["mode"], fine["weight"]), ("auto", 5))
        self.assertGreater(fine["chunks-fine"], 0)
        self.assertGreater(fine["deltas-written"], 90)
        self.assertEqual(fine["delta-guest-bytes"], fine["deltas-written"] * PAGE)
        self.assertLess(fine["delta-bytes"] * 8, fine["delta-guest-bytes"])
        self.assertEqual(staging["size"], 64 * MIB)
        self.assertEqual(staging["used"], 16 * PAGE)
        self.assertGreater(staging["hits"], 90)
        self.assertHolds()

    def test_deltas_are_read_after_a_restart(self):
        self.start(granularity="fine")
        self.rewrite(8, 6)
        self.assertGreater(self.daemon_.info()["granularity"]["deltas-written"], 30)
        self.daemon_.quit()
        self.daemon_, self.disk = self.daemon_with_disk(self.path, granularity="sub-block")
        self.assertHolds()
        self.rewrite(8, 3)
        fine = self.daemon_.info()["granularity"]
        self.assertEqual((fine["mode"], fine["deltas-written"]), ("sub-block", 0))
        self.assertHolds()

    def test_going_back_through_deltas(self):
        self.start(granularity="fine")
        self.rewrite(4, 4)
        self.daemon_.snapshot("before")
        then = dict(self.pages)
        self.rewrite(4, 9)
        self.assertHolds()
        self.daemon_.rollback(snapshot="before", force=True)
        self.pages = then
        self.assertHolds()


class Options(GranularityCase):
    def test_reopen_changes_them(self):
        self.start()
        self.reopen(**{"granularity": "fine", "staging-bytes": 8 * MIB, "weight": 9})
        info = self.daemon_.info()
        self.assertEqual(info["granularity"]["mode"], "fine")
        self.assertEqual(info["granularity"]["weight"], 9)
        self.assertEqual(info["staging"]["size"], 8 * MIB)
        self.rewrite(4, 3)
        self.assertEqual(self.daemon_.info()["granularity"]["deltas-written"], 8)
        self.reopen(**{"granularity": "fine", "staging-bytes": 0})
        self.rewrite(4, 3)
        info = self.daemon_.info()
        self.assertEqual(info["granularity"]["deltas-written"], 8)
        self.assertEqual((info["staging"]["used"], info["staging"]["memory"]), (0, 0))
        self.assertHolds()

    def test_nonsense_is_refused(self):
        path = self.create(size="16M")
        daemon = self.daemon()
        said = self.refusal(daemon.add, node("disk", path, weight=11))
        self.assertSaysAll(said, "weight", "10")
        said = self.refusal(daemon.add, node("disk", path, granularity="coarse"))
        self.assertSaysAll(said, "coarse")
