# SPDX-License-Identifier: GPL-2.0-or-later
"""Data that nobody has written for long is compressed: pack-after."""
import errno

from case import MIB, QemuTest, content, node
from lib import image, process, qmp

BLOCK = 65536


class Pack(QemuTest):
    def start(self, **options):
        self.path_ = self.create(size="32M", options=[f"segment_size={MIB}"])
        self.attach(**{"cdp-window": 0, **options})

    def attach(self, **options):
        self.daemon_, self.disk = self.daemon_with_disk(self.path_, **options)

    def text(self, at):
        lines = "".join(f"{at} {i * i % 9973} the quick brown fox {i % 97};" for i in range(4000))
        return lines.encode()[:BLOCK]

    def noisy_text(self, at):
        """Of which alone a half is left."""
        return content(f"noise {at}", BLOCK // 2).hex().encode()

    def fill(self):
        """16 MiB of text, then enough of something else that the text is past."""
        for at in range(0, 16 * MIB, BLOCK):
            self.disk.write(at, self.text(at))
        for i in range(3):
            for at in range(16 * MIB, 20 * MIB, BLOCK):
                self.disk.write(at, content(f"{i} {at}", BLOCK))
            self.disk.flush()

    def until_packed(self, least=8 * MIB):
        process.wait_until(lambda: self.daemon_.info()["packed"] >= least, "cold data compressed")

    def assertText(self):
        for at in range(0, 16 * MIB, BLOCK):
            self.assertEqual(self.disk.read(at, BLOCK), self.text(at), at)

    def test_an_idle_disk_gets_smaller_and_says_the_same(self):
        self.start(**{"pack-after": 1})
        self.fill()
        self.until_packed()  # the guest does nothing
        info = self.daemon_.info()
        self.assertLess(info["stats"]["pack-bytes"], info["stats"]["packed-bytes"] / 2)
        self.assertText()
        self.disk.write(MIB, content("new", BLOCK))
        self.assertEqual(self.disk.read(MIB, BLOCK), content("new", BLOCK))
        self.disk.write(MIB, self.text(MIB))
        self.disk.flush()
        self.daemon_.quit()
        self.check()
        self.attach()
        self.assertGreater(self.daemon_.info()["packed"], 0)
        self.assertText()
        self.daemon_.quit()

    def test_old_history_is_stored_as_what_differs_from_it(self):
        self.start(**{"pack-after": 1})

        def page(at, version):
            return f"version {version};".encode() + self.noisy_text(at)[10:]

        for at in range(0, 16 * MIB, BLOCK):
            self.disk.write(at, page(at, 1))
        self.disk.flush()
        self.daemon_.snapshot("old")
        for at in range(0, 16 * MIB, BLOCK):
            self.disk.write(at, page(at, 2))
        for i in range(3):
            for at in range(16 * MIB, 20 * MIB, BLOCK):
                self.disk.write(at, content(f"{i} {at}", BLOCK))
            self.disk.flush()
        process.wait_until(lambda: self.daemon_.info()["stats"]["streams-referred"] > 0, "old history stored anew")

        def assert_both():
            # Frames side by side, of which some are stored after one pack and some after the next.
            old = self.daemon_.read_view(16 * MIB, snapshot="old")
            for at in range(0, 16 * MIB, BLOCK):
                self.assertEqual(self.disk.read(at, BLOCK), page(at, 2), at)
                self.assertEqual(old[at:at + BLOCK], page(at, 1), at)

        assert_both()
        self.daemon_.quit()
        self.check()
        self.attach()
        assert_both()
        self.daemon_.rollback(snapshot="old", force=True)
        for at in range(0, 16 * MIB, BLOCK):
            self.assertEqual(self.disk.read(at, BLOCK), page(at, 1), at)
        self.daemon_.quit()
        self.check()

    def test_it_is_shown_and_reopen_changes_it(self):
        self.start()
        self.assertEqual(self.daemon_.info()["pack-after"], -1)
        self.fill()
        self.assertEqual(self.daemon_.info()["stats"]["packed-bytes"], 0)
        self.daemon_.qmp.execute("blockdev-reopen", options=[node("disk", self.path_, **{"pack-after": 0})])
        self.assertEqual(self.daemon_.info()["pack-after"], 0)
        self.until_packed()
        self.daemon_.qmp.execute("blockdev-reopen", options=[node("disk", self.path_)])
        self.assertEqual(self.daemon_.info()["pack-after"], -1)
        self.assertText()
        self.daemon_.quit()
        self.check()

    def damage_packs(self):
        """Flips a bit in what may be a frame, at the beginning of each segment of streams."""
        data = bytearray(self.path_.read_bytes())
        damaged = 0
        for at in range(65536, len(data) - 4112, MIB):
            if data[at : at + 4] == b"PDSs" and data[at + 4] == 4:
                data[at + 4096 + 16] ^= 0x10
                damaged += 1
        self.assertGreater(damaged, 0)
        self.path_.write_bytes(data)

    def test_of_a_damaged_pack_only_what_lies_there_is_lost(self):
        self.start(**{"pack-after": 0})
        self.fill()
        self.until_packed()
        self.daemon_.quit()
        self.check()
        self.damage_packs()
        self.attach()
        bad = good = 0
        for at in range(0, 16 * MIB, 4096):
            try:
                inside = at % BLOCK
                self.assertEqual(self.disk.read(at, 4096), self.text(at - inside)[inside : inside + 4096], at)
                good += 1
            except OSError as e:
                self.assertEqual(e.errno, errno.EIO)
                bad += 1
        self.assertGreater(bad, 0)
        self.assertGreater(good, 16 * MIB // 4096 // 2)
        event = self.daemon_.qmp.wait_event("BLOCK_IMAGE_CORRUPTED")["data"]
        self.assertEqual(event["node-name"], "disk")
        self.assertIn("a frame of it is damaged", event["msg"])
        self.assertTrue(self.daemon_.info()["corrupt"])
        self.daemon_.quit()
        with self.assertRaises(process.ProcessError) as found:
            image.qemu_img("check", "-f", "predsnap", self.path_)
        self.assertIn("status 2", str(found.exception))
        self.assertIn("a frame of it is damaged", str(found.exception))

    def test_what_it_cannot_be_is_refused(self):
        path = self.create(size="32M")
        daemon = self.daemon()
        for wrong in (-2, 2**62):
            with self.assertRaisesRegex(qmp.QmpError, "'pack-after' is in seconds"):
                daemon.add(node("disk", path, **{"pack-after": wrong}))
        daemon.quit()
