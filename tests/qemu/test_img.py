# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img, one subcommand after the other."""
import json

from case import MIB, QemuTest, content
from lib import image
from lib.process import ProcessError


class ImgCase(QemuTest):
    def written(self, data, name="disk.pds", size="8M", **how):
        """A new image that begins with these bytes."""
        path = self.create(name, size, **how)
        self.fill(path, data)
        return path

    def fill(self, path, data, offset=0):
        source = self.raw("fill", data)
        image.qemu_io(path, "predsnap", f"write -s {source} {offset} {len(data)}", "flush")

    def disk_bytes(self, path, *options):
        """All of a disk, by way of convert."""
        out = self.work / "out.raw"
        image.qemu_img("convert", *options, "-f", "predsnap", "-O", "raw", path, out)
        return out.read_bytes()

    def map(self, path, image_format="predsnap"):
        return json.loads(image.qemu_img("map", "--output=json", "-f", image_format, path))

    def fails(self, *arguments):
        with self.assertRaises(ProcessError) as failure:
            image.qemu_img(*arguments)
        return str(failure.exception)


class CreateAndInfo(ImgCase):
    def test_info_tells_what_create_was_told(self):
        base = self.raw("base.raw", bytes(MIB))
        path = self.create(size="3145728", options=["segment_size=1M"], backing=("base.raw", "raw"))
        info = image.info(path)
        self.assertEqual(info["format"], "predsnap")
        self.assertEqual(info["virtual-size"], 3 * MIB)
        self.assertEqual(info["backing-filename"], "base.raw")
        self.assertEqual(info["full-backing-filename"], str(base))
        self.assertEqual(info["backing-filename-format"], "raw")
        self.assertEqual(info["format-specific"]["type"], "predsnap")
        self.assertEqual(info["format-specific"]["data"]["segment-size"], MIB)

    def test_size_is_taken_from_the_backing_file(self):
        base = self.raw("base.raw", bytes(5 * MIB))
        self.assertEqual(
            image.info(self.create(size=None, backing=(base, "raw")))["virtual-size"], 5 * MIB
        )

    def test_each_image_has_an_identity_of_its_own(self):
        ids = {
            image.info(self.create(name))["format-specific"]["data"]["uuid"]
            for name in ("a.pds", "b.pds")
        }
        self.assertEqual(len(ids), 2)

    def test_preallocated_image_is_written_ahead(self):
        lazy = self.create("lazy.pds", "64M")
        full = self.create("full.pds", "64M", options=["preallocation=full"])
        self.assertLess(lazy.stat().st_blocks * 512, 16 * MIB)
        self.assertGreaterEqual(full.stat().st_blocks * 512, 64 * MIB)
        self.check(full)

    def test_image_is_known_by_its_content(self):
        self.assertEqual(image.info(self.create("no-extension"))["format"], "predsnap")

    def test_chain_opens_from_the_stored_name_alone(self):
        below, above = content(1, MIB), content(2, MIB)
        self.raw("base.raw", below + below)
        path = self.create(size=None, backing=("base.raw", "raw"))
        self.fill(path, above)
        chain = json.loads(image.qemu_img("info", "--output=json", "--backing-chain", path))
        self.assertEqual([layer["format"] for layer in chain], ["predsnap", "raw"])
        self.assertEqual(self.disk_bytes(path), above + below)

    def test_overlay_on_a_predsnap_image_opens_from_its_stored_name(self):
        data = content(1, MIB)
        self.written(data, "base.pds", "1M")
        top = self.work / "top.qcow2"
        image.qemu_img("create", "-q", "-f", "qcow2", "-b", "base.pds", "-F", "predsnap", top)
        self.same_content(top, "qcow2", self.raw("expected", data), "raw")


class Convert(ImgCase):
    def test_in_and_out_again_keeps_every_byte(self):
        data = content(1, 3 * MIB) + bytes(2 * MIB) + content(2, MIB + 512)
        source = self.raw("source.raw", data)
        path = self.work / "disk.pds"
        image.qemu_img("convert", "-f", "raw", "-O", "predsnap", source, path)
        self.same_content(path, "predsnap", source, "raw")
        self.check(path)
        self.assertEqual(self.disk_bytes(path), data)

    def test_zeros_are_not_stored(self):
        source = self.raw("source.raw", bytes(32 * MIB) + content(1, MIB))
        path = self.work / "disk.pds"
        image.qemu_img("convert", "-f", "raw", "-O", "predsnap", source, path)
        mapped = self.map(path)
        stored = sum(part["length"] for part in mapped if part["data"])
        self.assertEqual(stored, MIB)

    def test_to_qcow2_and_back(self):
        path = self.written(content(1, MIB))
        middle, back = self.work / "middle.qcow2", self.work / "back.pds"
        image.qemu_img("convert", "-f", "predsnap", "-O", "qcow2", path, middle)
        image.qemu_img("convert", "-f", "qcow2", "-O", "predsnap", middle, back)
        self.same_content(path, "predsnap", back, "predsnap")

    def test_from_a_snapshot(self):
        old, new = content(1, MIB), content(2, MIB)
        path = self.written(old, size="1M")
        image.qemu_img("snapshot", "-c", "before", path)
        self.fill(path, new)
        self.assertEqual(self.disk_bytes(path, "-l", "snapshot.name=before"), old)
        self.assertEqual(self.disk_bytes(path, "-l", "before"), old)
        self.assertEqual(self.disk_bytes(path), new)

    def test_into_an_existing_image(self):
        data = content(1, MIB)
        path = self.written(content(2, MIB), size="1M")
        image.qemu_img(
            "convert", "-n", "-f", "raw", "-O", "predsnap", self.raw("source", data), path
        )
        self.assertEqual(self.disk_bytes(path), data)

    def test_only_the_difference_from_a_backing_file_is_stored(self):
        below = content(1, 4 * MIB)
        base = self.raw("base.raw", below)
        changed = below[:MIB] + content(2, MIB) + below[2 * MIB :]
        source, path = self.work / "source.qcow2", self.work / "disk.pds"
        image.qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", source)
        new = self.raw("new", changed[MIB : 2 * MIB])
        image.qemu_io(source, "qcow2", f"write -s {new} 1M 1M")
        image.qemu_img("convert", "-O", "predsnap", "-B", base, "-F", "raw", source, path)
        self.assertEqual(self.disk_bytes(path), changed)
        stored = sum(part["length"] for part in self.map(path) if part["depth"] == 0)
        self.assertEqual(stored, MIB)

    def test_out_of_order_writes_in_many_coroutines(self):
        data = content(1, 16 * MIB)
        source, path = self.raw("source.raw", data), self.work / "disk.pds"
        image.qemu_img("convert", "-W", "-m", "16", "-f", "raw", "-O", "predsnap", source, path)
        self.same_content(path, "predsnap", source, "raw")
        self.check(path)

    def test_dd(self):
        data = content(1, MIB)
        path, out = self.written(data, size="1M"), self.work / "part.raw"
        image.qemu_img(
            *("dd", "-f", "predsnap", "-O", "raw", "bs=4096", "skip=3", f"if={path}", f"of={out}")
        )
        self.assertEqual(out.read_bytes(), data[3 * 4096 :])

    def test_compare_finds_a_difference(self):
        data = content(1, MIB)
        path = self.written(data, size="1M")
        other = bytearray(data)
        other[700_000] ^= 1
        text = self.fails("compare", "-f", "predsnap", "-F", "raw", path, self.raw("o", other))
        self.assertIn("mismatch at offset 69990", text)


class Map(ImgCase):
    def test_data_zeros_and_backing_are_told_apart(self):
        base = self.raw("base.raw", content(1, 4 * MIB))
        path = self.create(size=None, backing=(base, "raw"))
        image.qemu_io(
            path, "predsnap", "write -P 1 64k 64k", "write -z 1M 512", "write -P 2 1537k 512"
        )
        mapped = [
            (p["start"], p["length"], p["depth"], p["zero"], p["data"]) for p in self.map(path)
        ]
        self.assertEqual(
            mapped,
            [
                (0, 65536, 1, False, True),
                (65536, 65536, 0, False, True),
                (131072, MIB - 131072, 1, False, True),
                (MIB, 512, 0, True, False),
                (MIB + 512, 513 * 1024 - 512, 1, False, True),
                (1573888, 512, 0, False, True),
                (1574400, 4 * MIB - 1574400, 1, False, True),
            ],
        )

    def test_offsets_lead_to_the_data_in_the_image_file(self):
        data = content(1, 256 * 1024)
        path = self.written(data)
        raw = path.read_bytes()
        parts = [p for p in self.map(path) if p["data"]]
        self.assertEqual(sum(p["length"] for p in parts), len(data))
        for p in parts:
            self.assertEqual(
                raw[p["offset"] : p["offset"] + p["length"]],
                data[p["start"] : p["start"] + p["length"]],
                str(p),
            )

    def test_for_people(self):
        path = self.written(content(1, MIB))
        self.assertIn(str(path), image.qemu_img("map", "-f", "predsnap", path))


class Measure(ImgCase):
    def measure(self, *arguments):
        return json.loads(image.qemu_img("measure", "--output=json", "-O", "predsnap", *arguments))

    def test_required_space_is_enough_and_full_space_is_more(self):
        source = self.raw("source.raw", content(1, 20 * MIB))
        with open(source, "r+b") as f:
            f.truncate(64 * MIB)
        measured = self.measure("-f", "raw", source)
        self.assertLess(measured["required"], measured["fully-allocated"])
        self.assertGreaterEqual(measured["fully-allocated"], 64 * MIB)
        room = self.create("room", "64M")
        with open(room, "r+b") as f:
            f.truncate(measured["required"])
        image.qemu_img(
            *("convert", "-n", "-f", "raw", "--target-image-opts", source),
            f"driver=predsnap,file.driver=raw,file.size={measured['required']},"
            f"file.file.driver=file,file.file.filename={room}",
        )
        self.same_content(room, "predsnap", source, "raw")

    def test_of_a_size_alone(self):
        new = self.measure("--size", "1G")
        self.assertLess(new["required"], 64 * MIB)
        self.assertGreaterEqual(new["fully-allocated"], 1024 * MIB)
        self.assertEqual(
            self.measure("--size", "1G", "-o", "preallocation=full")["required"],
            new["fully-allocated"],
        )


class Resize(ImgCase):
    def test_grown_disk_keeps_its_content_and_goes_on_in_zeros(self):
        data = content(1, MIB)
        path = self.written(data, size="1M")
        image.qemu_img("resize", "-q", "-f", "predsnap", path, "3M")
        self.assertEqual(self.disk_bytes(path), data + bytes(2 * MIB))
        self.check(path)

    def test_shrinking_needs_to_be_asked_for(self):
        path = self.written(content(1, MIB), size="1M")
        self.assertIn("--shrink", self.fails("resize", "-f", "predsnap", path, "512k"))

    def test_what_was_cut_off_does_not_come_back(self):
        data = content(1, 2 * MIB)
        path = self.written(data, size="2M")
        image.qemu_img("resize", "-q", "--shrink", "-f", "predsnap", path, "1M")
        self.assertEqual(self.disk_bytes(path), data[:MIB])
        image.qemu_img("resize", "-q", "-f", "predsnap", path, "2M")
        self.assertEqual(self.disk_bytes(path), data[:MIB] + bytes(MIB))
        self.check(path)

    def test_new_space_hides_a_longer_backing_file(self):
        base = self.raw("base.raw", content(1, 4 * MIB))
        path = self.create(size="1M", backing=(base, "raw"))
        image.qemu_img("resize", "-q", "-f", "predsnap", path, "4M")
        self.assertEqual(self.disk_bytes(path), content(1, 4 * MIB)[:MIB] + bytes(3 * MIB))

    def test_relative_size(self):
        path = self.create(size="1M")
        image.qemu_img("resize", "-q", "-f", "predsnap", path, "+1M")
        self.assertEqual(image.info(path)["virtual-size"], 2 * MIB)

    def test_size_that_is_no_multiple_of_a_sector_is_refused(self):
        path = self.create(size="1M")
        self.assertIn("512", self.fails("resize", "-f", "predsnap", path, str(MIB + 100)))


class Snapshot(ImgCase):
    def test_apply_restores_content_and_size(self):
        old = content(1, MIB)
        path = self.written(old, size="1M")
        image.qemu_img("snapshot", "-c", "before", path)
        self.fill(path, content(2, MIB))
        image.qemu_img("resize", "-q", "-f", "predsnap", path, "2M")
        image.qemu_img("snapshot", "-a", "before", path)
        self.assertEqual(self.disk_bytes(path), old)
        self.check(path)

    def test_list_shows_all_and_info_too(self):
        path = self.create()
        for name in ("first", "second"):
            image.qemu_img("snapshot", "-c", name, path)
        listed = image.qemu_img("snapshot", "-l", path)
        self.assertIn("first", listed)
        self.assertIn("second", listed)
        self.assertEqual([s["name"] for s in image.info(path)["snapshots"]], ["first", "second"])

    def test_deleted_one_is_gone_and_others_stay(self):
        old = content(1, MIB)
        path = self.written(old, size="1M")
        for name in ("first", "second"):
            image.qemu_img("snapshot", "-c", name, path)
        self.fill(path, content(2, MIB))
        image.qemu_img("snapshot", "-d", "first", path)
        self.assertEqual([s["name"] for s in image.info(path)["snapshots"]], ["second"])
        self.assertIn("first", self.fails("snapshot", "-a", "first", path))
        image.qemu_img("snapshot", "-a", "second", path)
        self.assertEqual(self.disk_bytes(path), old)

    def test_any_of_several_in_any_order(self):
        path = self.create(size="1M")
        for number in range(5):
            self.fill(path, content(number, 4096))
            image.qemu_img("snapshot", "-c", f"s{number}", path)
        for number in (3, 0, 4, 1, 2):
            image.qemu_img("snapshot", "-a", f"s{number}", path)
            self.assertEqual(self.disk_bytes(path)[:4096], content(number, 4096))
        self.check(path)


class RebaseAndCommit(ImgCase):
    def setUp(self):
        super().setUp()
        self.below, self.other = content(1, 2 * MIB), content(2, 2 * MIB)
        self.base = self.raw("base.raw", self.below)
        self.path = self.create(size=None, backing=("base.raw", "raw"))
        self.top = content(3, MIB)
        self.fill(self.path, self.top)
        self.all = self.top + self.below[MIB:]

    def test_safe_rebase_keeps_the_content(self):
        self.raw("other.raw", self.other)
        image.qemu_img("rebase", "-q", "-f", "predsnap", "-b", "other.raw", "-F", "raw", self.path)
        self.assertEqual(image.info(self.path)["backing-filename"], "other.raw")
        self.assertEqual(self.disk_bytes(self.path), self.all)
        self.check()

    def test_rebase_to_no_backing_file_makes_it_stand_alone(self):
        image.qemu_img("rebase", "-q", "-f", "predsnap", "-b", "", self.path)
        self.assertNotIn("backing-filename", image.info(self.path))
        self.base.unlink()
        self.assertEqual(self.disk_bytes(self.path), self.all)

    def test_unsafe_rebase_only_changes_the_name(self):
        self.raw("other.raw", self.other)
        image.qemu_img(
            "rebase", "-q", "-u", "-f", "predsnap", "-b", "other.raw", "-F", "raw", self.path
        )
        self.assertEqual(self.disk_bytes(self.path), self.top + self.other[MIB:])

    def test_commit_into_the_backing_file(self):
        image.qemu_img("commit", "-q", "-f", "predsnap", self.path)
        self.assertEqual(self.base.read_bytes(), self.all)
        self.assertEqual(self.disk_bytes(self.path), self.all)
        self.check()

    def test_commit_of_an_overlay_into_a_predsnap_image(self):
        top = self.work / "top.qcow2"
        image.qemu_img("create", "-q", "-f", "qcow2", "-b", self.path, "-F", "predsnap", top)
        image.qemu_io(top, "qcow2", "write -P 9 4096 512")
        image.qemu_img("commit", "-q", "-f", "qcow2", top)
        expected = self.all[:4096] + b"\x09" * 512 + self.all[4096 + 512 :]
        self.assertEqual(self.disk_bytes(self.path), expected)


class AmendAndBench(ImgCase):
    def test_amend_changes_the_size(self):
        path = self.create(size="1M")
        image.qemu_img("amend", "-q", "-f", "predsnap", "-o", "size=4M", path)
        self.assertEqual(image.info(path)["virtual-size"], 4 * MIB)

    def test_amend_of_anything_else_names_it(self):
        path = self.create(size="1M")
        text = self.fails("amend", "-f", "predsnap", "-o", "segment_size=1M", path)
        self.assertIn("segment_size", text)

    def test_bench_leaves_an_image_that_checks(self):
        path = self.create(size="64M")
        image.qemu_img(
            *("bench", "-q", "-w", "-f", "predsnap", "-c", "5000", "-d", "32", "-s", "4k"),
            *("-S", "165900288", "--pattern=90", "--flush-interval=64", path),
        )
        self.check(path)
        image.qemu_img("bench", "-q", "-f", "predsnap", "-c", "2000", "-d", "32", path)
