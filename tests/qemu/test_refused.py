# SPDX-License-Identifier: GPL-2.0-or-later
"""What is refused, and whether the message says what to do."""
from case import MIB, QemuTest, content, node
from lib import image
from lib.process import ProcessError
from superblock import SLOT_BYTES, SLOTS, Superblock, forge


class RefusedCase(QemuTest):
    def img_fails(self, *arguments):
        with self.assertRaises(ProcessError) as failure:
            image.qemu_img(*arguments)
        return str(failure.exception)

    def written(self, **how):
        path = self.create(size="1M", **how)
        image.qemu_io(path, "predsnap", "write -P 1 0 1M", "flush")
        return path


class InUse(RefusedCase):
    def test_second_writer_gets_the_lock_error(self):
        daemon, _ = self.daemon_with_disk()
        other = self.daemon()
        text = self.refusal(other.add, node("disk", self.path))
        self.assertIn('Failed to get "write" lock', text)

    def test_reading_beside_a_writer_gets_it_too(self):
        daemon, _ = self.daemon_with_disk()
        self.assertIn("lock", self.img_fails("info", self.path))
        image.qemu_img("info", "-U", self.path)

    def test_snapshot_by_qemu_img_beside_a_writer_gets_it_too(self):
        daemon, _ = self.daemon_with_disk()
        self.assertIn("lock", self.img_fails("snapshot", "-c", "s", self.path))
        self.assertEqual(daemon.info()["snapshots"], [])

    def test_many_readers_are_fine(self):
        path = self.written()
        for name in ("first", "second"):
            daemon = self.daemon()
            daemon.add(node("disk", path, **{"read-only": True}))
            self.assertEqual(daemon.serve("disk", writable=False).read(0, 512), b"\x01" * 512)

    def test_reader_of_an_image_closed_by_a_kill_writes_nothing(self):
        daemon, disk = self.daemon_with_disk()
        disk.write(0, b"1" * 4096, fua=True)
        daemon.kill()
        before = self.path.read_bytes()
        image.qemu_io(self.path, "predsnap", "read -P 49 0 4k", options=["-r"])
        self.assertEqual(self.path.read_bytes(), before)


class Limits(RefusedCase):
    def test_size_over_the_limit_says_the_limit(self):
        text = self.img_fails("create", "-f", "predsnap", self.work / "big.pds", "512T")
        self.assertSaysAll(text, "too large", 1 << 48)
        self.assertFalse((self.work / "big.pds").exists())

    def test_the_biggest_disk_works_at_its_end(self):
        path = self.create(size="256T")
        last = (256 << 40) - 512
        image.qemu_io(path, "predsnap", f"write -P 7 {last} 512", "write -P 8 0 512")
        image.qemu_io(path, "predsnap", f"read -P 7 {last} 512", "read -P 8 0 512")
        self.check(path)

    def test_growing_over_the_limit_is_refused_and_changes_nothing(self):
        path = self.written()
        self.img_fails("resize", "-f", "predsnap", path, "257T")
        self.assertEqual(image.info(path)["virtual-size"], MIB)
        self.check(path)

    def test_backing_file_name_that_does_not_fit(self):
        text = self.img_fails(
            *("create", "-f", "predsnap", "-u", "-b", "x" * 1024, "-F", "raw"),
            *(self.work / "new.pds", "1M"),
        )
        self.assertIn("1023", text)

    def test_segment_sizes(self):
        for size in ("64k", "1M", "64M"):
            self.check(self.create(f"{size}.pds", options=[f"segment_size={size}"]))
        for size in ("32k", "65000", "128M", "0x7fffffff"):
            text = self.img_fails(
                *("create", "-f", "predsnap", "-o", f"segment_size={size}"),
                *(self.work / "bad.pds", "1M"),
            )
            self.assertIn("power of two", text)

    def test_image_without_any_size(self):
        path = self.create(size="0")
        self.assertEqual(image.info(path)["virtual-size"], 0)
        self.check(path)
        image.qemu_img("resize", "-q", "-f", "predsnap", path, "1M")
        image.qemu_io(path, "predsnap", "write -P 1 0 1M")


class Features(RefusedCase):
    def test_unknown_incompatible_bits_refuse(self):
        path = self.written()
        forge(path, incompatible=1 << 40)
        text = self.img_fails("info", path)
        self.assertSaysAll(text, "incompatible", "0x10000000000", "newer")

    def test_unknown_compatible_bits_do_not_matter(self):
        path = self.written()
        forge(path, compatible=1 << 40)
        image.qemu_io(path, "predsnap", "read -P 1 0 1M", "write -P 2 0 1M")
        self.assertEqual(Superblock.read(path).get("compatible"), 1 << 40)

    def test_unknown_autoclear_bits_are_cleared_when_opened_for_writing(self):
        path = self.written()
        forge(path, autoclear=1 << 40)
        image.qemu_io(path, "predsnap", "read -P 1 0 1M", options=["-r"])
        self.assertEqual(Superblock.read(path).get("autoclear"), 1 << 40)
        image.qemu_io(path, "predsnap", "write -P 1 0 512")
        self.assertEqual(Superblock.read(path).get("autoclear"), 0)

    def test_unknown_autoclear_bits_are_cleared_before_the_first_write(self):
        path = self.written()
        forge(path, autoclear=1 << 40)
        daemon = self.daemon()
        daemon.add(node("disk", path))
        daemon.serve("disk").write(0, b"1" * 512)
        daemon.kill()
        self.assertEqual(Superblock.read(path).get("autoclear"), 0)

    def test_newer_version_refuses(self):
        path = self.written()
        forge(path, version=2)
        self.assertSaysAll(self.img_fails("info", "-f", "predsnap", path), "version 2", "reads 1")


class Forged(RefusedCase):
    """Superblocks with a right checksum and wrong content."""

    def test_senseless_values_are_named(self):
        good = self.written()
        for fields, word in (
            ({"segment_size": 0}, "segment size"),
            ({"segment_size": 100_000}, "segment size"),
            ({"segment_size": 1 << 31}, "segment size"),
            ({"initial_size": (1 << 64) - 512}, "size"),
            ({"initial_size": 513}, "size"),
            ({"backing_file_length": 65535}, "backing"),
            ({"backing_format_length": 65535}, "backing"),
            ({"checkpoint_segment": 0xFFFFFFF0}, "checkpoint"),
            ({"checkpoint_segment": 0}, "checkpoint"),
            ({"durable_sequence": 1 << 40}, "sequence"),
        ):
            with self.subTest(fields):
                path = self.work / "forged.pds"
                path.write_bytes(good.read_bytes())
                forge(path, **fields)
                text = self.img_fails("info", "-f", "predsnap", path)
                self.assertIn(word, text)

    def test_wrong_segment_size_gives_no_data(self):
        path = self.written()
        forge(path, segment_size=65536)
        text = self.img_fails("convert", "-f", "predsnap", "-O", "raw", path, self.work / "out.raw")
        self.assertIn("damaged", text)

    def test_both_slots_damaged_is_said(self):
        path = self.written()
        with open(path, "r+b") as f:
            for slot in (0, 4096):
                f.seek(slot + 100)
                f.write(b"\xff" * 8)
        text = self.img_fails("info", "-f", "predsnap", path)
        self.assertSaysAll(text, "superblock", "0", "4096")

    def test_one_damaged_slot_does_no_harm_and_is_mended_by_the_next_writer(self):
        """A power cut can tear the slot that was being written."""
        for slot in range(SLOTS):
            path = self.written(name=f"slot{slot}.pds")
            with open(path, "r+b") as f:
                f.seek(slot * SLOT_BYTES + 100)
                f.write(b"\xff" * 8)
            self.assertFalse(Superblock.slots(path)[slot].intact())
            image.qemu_io(path, "predsnap", "read -P 1 0 1M", options=["-r"])
            image.qemu_io(path, "predsnap", "read -P 1 0 1M")
            self.assertTrue(all(block.intact() for block in Superblock.slots(path)))
            self.check(path)

    def test_file_that_is_no_image(self):
        for name, data in (("empty", b""), ("short", b"PDS\xfb"), ("text", content(1, MIB))):
            text = self.img_fails("info", "-f", "predsnap", self.raw(name, data))
            self.assertIn(name, text)
