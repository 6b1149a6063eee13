# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own block commands on a predsnap node: creating, reopening, overlays, jobs, transactions."""
import json
import threading

from case import MIB, QemuTest, content, node
from lib import image
from lib.qmp import QmpError


class Create(QemuTest):
    def blockdev_create(self, daemon, **options):
        daemon.qmp.execute("blockdev-create", job_id="create", options=options)
        daemon.qmp.wait_job("create")

    def file(self, daemon, name="new"):
        path = self.raw(f"{name}.pds", b"")
        daemon.add(image.file_node(path) | {"node-name": name})
        return path

    def test_all_options(self):
        self.raw("base.raw", bytes(MIB))
        daemon = self.daemon()
        path = self.file(daemon)
        self.blockdev_create(
            daemon,
            driver="predsnap",
            file="new",
            size=3 * MIB,
            **{
                "backing-file": "base.raw",
                "backing-fmt": "raw",
                "segment-size": 1 << 20,
                "preallocation": "full",
            },
        )
        daemon.quit()
        info = image.info(path)
        self.assertEqual(info["virtual-size"], 3 * MIB)
        self.assertEqual(info["backing-filename"], "base.raw")
        self.assertEqual(info["backing-filename-format"], "raw")
        self.assertEqual(info["format-specific"]["data"]["segment-size"], 1 << 20)
        self.assertGreaterEqual(path.stat().st_blocks * 512, 3 * MIB)
        self.check(path)

    def test_new_image_can_be_used_at_once(self):
        daemon = self.daemon()
        self.file(daemon)
        self.blockdev_create(daemon, driver="predsnap", file="new", size=MIB)
        daemon.add({"driver": "predsnap", "node-name": "disk", "file": "new"})
        disk = daemon.serve("disk")
        disk.write(0, b"a" * 4096)
        self.assertEqual(disk.read(0, 8192), b"a" * 4096 + bytes(4096))

    def test_bad_options_are_refused_with_the_reason(self):
        daemon = self.daemon()
        self.file(daemon)
        bad = (
            ({"size": 513}, "multiple of 512"),
            ({"size": 1 << 60}, "too large"),
            ({"size": MIB, "segment-size": 100_000}, "power of two"),
            ({"size": MIB, "segment-size": 1 << 30}, "power of two"),
            ({"size": MIB, "backing-fmt": "raw"}, "without backing file"),
            ({"size": MIB, "backing-file": "x" * 1024}, "1023"),
        )
        for options, reason in bad:
            with self.subTest(options=options):
                with self.assertRaises(QmpError) as refused:
                    self.blockdev_create(daemon, driver="predsnap", file="new", **options)
                self.assertIn(reason, refused.exception.desc)


class Reopen(QemuTest):
    def reopen(self, daemon, **options):
        daemon.qmp.execute("blockdev-reopen", options=[node("disk", self.path, **options)])

    def test_point_interval_changes(self):
        daemon, _ = self.daemon_with_disk()
        self.assertEqual(daemon.info()["point-interval"], 1000)
        self.reopen(daemon, **{"point-interval": 5000})
        self.assertEqual(daemon.info()["point-interval"], 5000)
        self.reopen(daemon)
        self.assertEqual(daemon.info()["point-interval"], 1000)

    def test_read_only_and_back(self):
        self.path = self.create()
        daemon = self.daemon()
        daemon.add(node("disk", self.path))
        with daemon.serve("disk") as disk:
            disk.write(0, b"1" * 4096)
        daemon.stop_serving("disk")
        self.reopen(daemon, **{"read-only": True})
        self.assertFalse(daemon.info()["writable"])
        text = self.refusal(daemon.snapshot, "s")
        self.assertSaysAll(text, "disk", "read-only", "blockdev-reopen")
        with daemon.serve("disk", writable=False) as disk:
            self.assertEqual(disk.read(0, 4096), b"1" * 4096)
        daemon.stop_serving("disk")
        self.reopen(daemon)
        with daemon.serve("disk") as disk:
            disk.write(0, b"2" * 4096)
            disk.flush()
            self.assertEqual(disk.read(0, 4096), b"2" * 4096)
        daemon.quit()
        self.check()

    def test_another_backing_node(self):
        first, second = content(1, MIB), content(2, MIB)
        self.path = self.create(size="1M")
        daemon = self.daemon()
        for name, data in (("first", first), ("second", second)):
            file = image.file_node(self.raw(name, data))
            daemon.add({"driver": "raw", "node-name": name, "file": file})
        daemon.add(node("disk", self.path, backing="first"))
        disk = daemon.serve("disk")
        disk.write(4096, b"x" * 512)
        self.assertEqual(disk.read(0, 4096), first[:4096])
        self.reopen(daemon, backing="second")
        self.assertEqual(disk.read(0, MIB), second[:4096] + b"x" * 512 + second[4608:])

    def test_unknown_option_is_named(self):
        daemon, _ = self.daemon_with_disk()
        text = self.refusal(self.reopen, daemon, **{"no-such": 1})
        self.assertIn("no-such", text)


class Overlay(QemuTest):
    """Slid over an existing disk, and taken out again."""

    def setUp(self):
        super().setUp()
        self.below = content(1, 4 * MIB)
        self.base_path = self.raw("base.raw", self.below)
        self.daemon_ = self.daemon()
        file = image.file_node(self.base_path)
        self.daemon_.add({"driver": "raw", "node-name": "base", "file": file})
        self.disk = self.daemon_.serve("base")
        self.path = self.create(size="4M")
        self.daemon_.add(node("over", self.path, backing=None))

    def slide_in(self):
        self.daemon_.qmp.execute("blockdev-snapshot", node="base", overlay="over")

    def write_some(self):
        self.disk.write(MIB, b"n" * 4096)
        self.disk.write_zeroes(2 * MIB, 65536)
        self.disk.flush()
        return (
            self.below[:MIB]
            + b"n" * 4096
            + self.below[MIB + 4096 : 2 * MIB]
            + bytes(65536)
            + self.below[2 * MIB + 65536 :]
        )

    def test_writes_go_to_it_and_the_base_stays(self):
        self.slide_in()
        expected = self.write_some()
        self.assertEqual(self.disk.read(0, 4 * MIB), expected)
        self.daemon_.quit()
        self.assertEqual(self.base_path.read_bytes(), self.below)
        self.check()

    def test_committed_back_and_removed(self):
        self.slide_in()
        expected = self.write_some()
        self.daemon_.qmp.run_job("block-commit", device="over")
        self.assertEqual(self.disk.read(0, 4 * MIB), expected)
        self.daemon_.remove("over")
        self.daemon_.quit()
        self.assertEqual(self.base_path.read_bytes(), expected)

    def test_commit_of_an_overlay_down_into_it(self):
        self.slide_in()
        expected = self.write_some()
        top = self.work / "top.qcow2"
        image.create(top, "qcow2", "4M")
        self.daemon_.add(image.format_node("top", "qcow2", top, backing=None))
        self.daemon_.qmp.execute("blockdev-snapshot", node="over", overlay="top")
        self.disk.write(0, b"t" * 512)
        self.daemon_.qmp.run_job("block-commit", device="top", base_node="over")
        self.assertEqual(self.disk.read(0, 4 * MIB), b"t" * 512 + expected[512:])
        self.assertEqual(self.base_path.read_bytes(), self.below)

    def test_commit_past_it_from_an_overlay(self):
        """The predsnap layer in the middle goes; its content is in the base."""
        self.slide_in()
        expected = self.write_some()
        top = self.work / "top.qcow2"
        image.create(top, "qcow2", "4M")
        self.daemon_.add(image.format_node("top", "qcow2", top, backing=None))
        self.daemon_.qmp.execute("blockdev-snapshot", node="over", overlay="top")
        self.daemon_.qmp.run_job("block-commit", device="top", top_node="over", base_node="base")
        self.assertEqual(self.disk.read(0, 4 * MIB), expected)
        self.assertEqual(self.base_path.read_bytes(), expected)

    def test_streamed_full_it_needs_no_base(self):
        self.slide_in()
        expected = self.write_some()
        self.daemon_.qmp.run_job("block-stream", device="over")
        self.daemon_.stop_serving("base")
        self.daemon_.quit()
        self.base_path.unlink()
        self.assertNotIn("backing-filename", image.info(self.path))
        self.same_content(self.path, "predsnap", self.raw("expected", expected), "raw")
        self.check()


class Copies(QemuTest):
    """Mirror and backup of a disk that is being written."""

    def setUp(self):
        super().setUp()
        self.daemon_, self.disk = self.daemon_with_disk(self.create(size="16M"))
        self.disk.write(0, content(1, 8 * MIB))

    def target(self, name="target"):
        path = self.work / f"{name}.qcow2"
        image.create(path, "qcow2", "16M")
        self.daemon_.add(image.format_node(name, "qcow2", path))
        return path

    def held(self):
        return self.disk.read(0, 16 * MIB)

    def test_mirror(self):
        path = self.target()
        self.daemon_.qmp.execute(
            "blockdev-mirror",
            job_id="job",
            device="disk",
            target="target",
            sync="full",
            auto_dismiss=False,
        )
        self.disk.write(MIB, content(2, MIB))
        self.daemon_.qmp.wait_event("BLOCK_JOB_READY")
        self.disk.write(9 * MIB, content(3, MIB))
        expected = self.held()
        self.daemon_.qmp.wait_job("job")
        self.assertEqual(self.held(), expected)
        self.daemon_.stop_serving("disk")
        self.daemon_.quit()
        self.same_content(path, "qcow2", self.raw("expected", expected), "raw")
        self.check()

    def test_mirror_while_another_client_writes(self):
        path = self.target()
        other = self.daemon_.connect("disk")
        stop = threading.Event()

        def write():
            number = 0
            while not stop.is_set():
                number += 1
                other.write(number * 7919 % 32768 * 512, number.to_bytes(8, "little") * 64)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            self.daemon_.qmp.execute(
                "blockdev-mirror",
                job_id="job",
                device="disk",
                target="target",
                sync="full",
                auto_dismiss=False,
                **{"copy-mode": "write-blocking"},
            )
            self.daemon_.qmp.wait_event("BLOCK_JOB_READY")
        finally:
            stop.set()
            writer.join()
        expected = self.held()
        self.daemon_.qmp.wait_job("job")
        self.daemon_.stop_serving("disk")
        self.daemon_.quit()
        self.same_content(path, "qcow2", self.raw("expected", expected), "raw")

    def test_mirror_into_a_predsnap_image(self):
        path = self.create("copy.pds", "16M")
        self.daemon_.add(node("copy", path))
        expected = self.held()
        self.daemon_.qmp.run_job("blockdev-mirror", device="disk", target="copy", sync="full")
        self.assertEqual(self.held(), expected)
        self.daemon_.stop_serving("disk")
        self.daemon_.quit()
        self.same_content(path, "predsnap", self.raw("expected", expected), "raw")
        self.check(path)

    def test_full_backup_is_of_the_moment_it_began(self):
        path = self.target()
        expected = self.held()
        self.daemon_.qmp.execute(
            "blockdev-backup",
            job_id="job",
            device="disk",
            target="target",
            sync="full",
            auto_dismiss=False,
            speed=16 * MIB,
        )
        self.disk.write(0, content(5, 8 * MIB))
        self.daemon_.qmp.execute("block-job-set-speed", device="job", speed=0)
        self.daemon_.qmp.wait_job("job")
        self.daemon_.remove("target")
        self.same_content(path, "qcow2", self.raw("expected", expected), "raw")

    def test_incremental_backup_with_a_bitmap(self):
        full, more = self.target("full"), self.target("more")
        qmp = self.daemon_.qmp
        qmp.execute("block-dirty-bitmap-add", node="disk", name="changes")
        qmp.run_job("blockdev-backup", device="disk", target="full", sync="full")
        self.disk.write(3 * MIB, b"c" * 4096)
        self.disk.write_zeroes(5 * MIB, 4096)
        self.disk.trim(6 * MIB, 65536)
        expected = self.held()
        qmp.run_job(
            "blockdev-backup", device="disk", target="more", sync="incremental", bitmap="changes"
        )
        for name in ("full", "more"):
            self.daemon_.remove(name)
        copied = sum(part["length"] for part in self.map(more) if part["present"])
        self.assertLess(copied, MIB)
        image.qemu_img("rebase", "-q", "-u", "-f", "qcow2", "-b", full, "-F", "qcow2", more)
        self.same_content(more, "qcow2", self.raw("expected", expected), "raw")

    def map(self, path):
        return json.loads(image.qemu_img("map", "--output=json", path))

    def test_backup_of_a_view_is_of_its_moment(self):
        path = self.target()
        expected = self.held()
        self.daemon_.snapshot("before")
        self.disk.write(0, content(6, 8 * MIB))
        self.daemon_.add_view("old", snapshot="before")
        self.daemon_.qmp.run_job("blockdev-backup", device="old", target="target", sync="full")
        self.daemon_.remove("target")
        self.same_content(path, "qcow2", self.raw("expected", expected), "raw")


class Transactions(QemuTest):
    """Internal snapshots of two disks at one moment."""

    def setUp(self):
        super().setUp()
        self.daemon_ = self.daemon()
        self.disks = {}
        for name in ("one", "two"):
            self.daemon_.add(node(name, self.create(f"{name}.pds", "1M")))
            self.disks[name] = self.daemon_.serve(name)

    def snapshot_both(self, name, second="two"):
        actions = [
            {
                "type": "blockdev-snapshot-internal-sync",
                "data": {"device": device, "name": name},
            }
            for device in ("one", second)
        ]
        self.daemon_.qmp.execute("transaction", actions=actions)

    def names(self, disk):
        return [s["name"] for s in self.daemon_.info(disk)["snapshots"]]

    def test_both_get_it_and_both_go_back(self):
        for name, disk in self.disks.items():
            disk.write(0, name.encode() * 1024)
        self.snapshot_both("both")
        for disk in self.disks.values():
            disk.write(0, b"new" * 512)
        for name in self.disks:
            self.daemon_.rollback(name, snapshot="both", force=True)
        for name, disk in self.disks.items():
            self.assertEqual(disk.read(0, 3072), name.encode() * 1024)

    def test_if_one_fails_none_has_it(self):
        self.daemon_.snapshot("taken", node_name="two")
        with self.assertRaises(QmpError):
            self.snapshot_both("taken")
        self.assertEqual(self.names("one"), [])
        self.assertEqual(self.names("two"), ["taken"])

    def test_if_a_disk_cannot_have_any_none_has_it(self):
        file = image.file_node(self.raw("plain.raw", bytes(MIB)))
        self.daemon_.add({"driver": "raw", "node-name": "plain", "file": file})
        with self.assertRaises(QmpError):
            self.snapshot_both("s", second="plain")
        self.assertEqual(self.names("one"), [])
