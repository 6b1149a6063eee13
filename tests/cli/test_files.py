# SPDX-License-Identifier: GPL-2.0-or-later
"""diff --files: which files of real ext file systems differ, on whole disks and in partitions."""
import os
import re
import struct
import subprocess

from case import CliTest
from lib import image
from lib.process import run

MIB = 1 << 20
SECTOR = 512


class FileSystem:
    """One in a file, made by e2fsprogs and changed by its debugger."""

    def __init__(self, path, kind="ext4", size=32 * MIB):
        self.path, self.folder = path, path.parent / f"{path.name}.tree"
        for name in ("keep", "docs/letter", "docs/old", "docs/secret", "data/rows", "gone/a", "gone/b"):
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(name.encode() * 3000)
        path.write_bytes(bytes(0))
        os.truncate(path, size)
        run([f"/sbin/mkfs.{kind}", "-q", "-F", "-b", "4096", "-d", self.folder, path])

    def change(self, *commands):
        script = self.path.parent / "commands"
        script.write_text("".join(f"{command}\n" for command in commands), encoding="ascii")
        run(["/sbin/debugfs", "-w", "-f", script, self.path])

    def blocks_of(self, name):
        return [int(block) for block in run(["/sbin/debugfs", "-R", f"blocks {name}", self.path]).split()]

    def overwrite(self, name, at=0):
        """As a program that hides its traces: the block alone, no time of the file."""
        with open(self.path, "r+b") as stream:
            stream.seek(self.blocks_of(name)[at] * 4096)
            stream.write(b"\xee" * 4096)

    def do_it_all(self):
        new = self.path.parent / "new"
        new.write_bytes(b"new" * 5000)
        self.change(f"write {new} /docs/new", "mkdir /made", "rm /gone/a", "rm /gone/b", "rmdir /gone",
                    "set_inode_field /docs/secret mode 0100777", "ln /docs/old /made/moved", "unlink /docs/old",
                    "set_inode_field /made/moved ctime 20300101", "set_inode_field /docs/letter mtime 20300101")
        self.overwrite("/data/rows", -1)


EXPECTED = {
    ("added", "/docs/new"), ("removed", "/gone/a"), ("removed", "/gone/b"), ("removed", "/gone"), ("added", "/made"),
    ("attributes", "/docs/secret"), ("moved", "/made/moved"), ("changed", "/docs/letter"), ("changed", "/data/rows"),
}


class Files(CliTest):
    def put(self, path, raw, name):
        """The raw disk's content onto the disk, durable, and a snapshot of it."""
        image.qemu_img("convert", "-n", "-f", "raw", "-O", "predsnap", raw, path)
        self.tool("snapshot", "create", path, name)

    def changes(self, file_system):
        return {(file["change"], file["path"]) for file in file_system["files"]}

    def check_kind(self, kind):
        raw = FileSystem(self.work / "fs.raw", kind)
        path = self.disk(size="32M")
        self.put(path, raw.path, "before")
        raw.do_it_all()
        self.put(path, raw.path, "after")
        found = self.ask("diff", path, "before", "after", "--files")
        self.assertGreater(found["bytes"], 4096)
        (only,) = found["file-systems"]
        self.assertEqual((only["partition"], only["state"]), (0, "compared"))
        self.assertEqual(self.changes(only), EXPECTED)
        moved = next(file for file in only["files"] if file["change"] == "moved")
        self.assertEqual(moved["path-before"], "/docs/old")
        return path

    def test_ext4(self):
        path = self.check_kind("ext4")
        text = self.tool("diff", path, "before", "after", "--files")
        self.assertSaysAll(text, "whole disk: 9 files differ", "/made/", "before: /docs/old", "14.6 KiB  /docs/new")
        self.assertIn("7 more", self.tool("diff", path, "before", "after", "--files", "-n", 2))
        # The other way round.
        (only,) = self.ask("diff", path, "after", "before", "--files")["file-systems"]
        self.assertIn(("added", "/gone/a"), self.changes(only))
        self.assertEqual(self.ask("diff", path, "before", "before", "--files")["file-systems"][0]["files"], [])
        self.assertEqual(os.listdir(self.work / "run"), [])

    def test_ext2(self):
        self.check_kind("ext2")

    def test_of_an_open_disk(self):
        path = self.check_kind("ext3")
        daemon = self.daemon(path)
        (only,) = self.ask("diff", self.socket, "before", "after", "--files")["file-systems"]
        self.assertEqual(self.changes(only), EXPECTED)
        nodes = daemon.qmp.execute("query-named-block-nodes", flat=True)
        self.assertEqual([node["node-name"] for node in nodes if node["node-name"].startswith("predsnap-")], [])
        self.assertEqual(os.listdir(self.work / "run"), [])

    def test_what_only_the_journal_has(self):
        """A block of metadata is committed to the journal, as a running guest's are, and not yet in its place."""
        raw = FileSystem(self.work / "fs.raw")
        path = self.disk(size="32M")
        self.put(path, raw.path, "before")
        # The block of the inode table with /keep, in which its mode is another.
        where = re.search(r"at block (\d+), offset (0x[0-9a-f]+)", run(["/sbin/debugfs", "-R", "imap /keep", raw.path]))
        block, offset = int(where[1]), int(where[2], 16)
        with open(raw.path, "rb") as stream:
            stream.seek(block * 4096)
            content = bytearray(stream.read(4096))
        struct.pack_into("<H", content, offset, 0o100640)
        (self.work / "block").write_bytes(content)
        raw.change("jo", f"jw -b {block} {self.work}/block", "jc")
        self.put(path, raw.path, "after")
        (only,) = self.ask("diff", path, "before", "after", "--files")["file-systems"]
        self.assertEqual(self.changes(only), {("attributes", "/keep")})

    def disk_with_partitions(self, label, *file_systems):
        """A raw disk with them, at 1 MiB and so on; the offset of each."""
        size = 2 * MIB + sum(os.path.getsize(fs.path) for fs in file_systems)
        raw = self.work / "whole.raw"
        raw.write_bytes(b"")
        os.truncate(raw, size)
        script = f"label: {label}\n" + "".join(f"size={os.path.getsize(fs.path) // SECTOR}, type=L\n" for fs in file_systems)
        subprocess.run(["/sbin/sfdisk", "-q", raw], input=script, text=True, check=True)
        self.copy_in(raw, file_systems)
        return raw

    def copy_in(self, raw, file_systems):
        at = 1
        for fs in file_systems:
            run(["dd", f"if={fs.path}", f"of={raw}", "bs=1M", f"seek={at}", "conv=notrunc,sparse", "status=none"])
            at += os.path.getsize(fs.path) // MIB

    def check_partitions(self, label):
        first, second = FileSystem(self.work / "one.raw", size=16 * MIB), FileSystem(self.work / "two.raw", size=16 * MIB)
        raw = self.disk_with_partitions(label, first, second)
        path = self.disk(size="34M")
        self.put(path, raw, "before")
        second.change("rm /docs/letter")
        self.copy_in(raw, (first, second))
        self.put(path, raw, "after")
        found = self.ask("diff", path, "before", "after", "--files")["file-systems"]
        self.assertEqual([fs["partition"] for fs in found], [1, 2])
        self.assertEqual([self.changes(fs) for fs in found], [set(), {("removed", "/docs/letter")}])
        return path

    def test_gpt(self):
        path = self.check_partitions("gpt")
        # The table and the first file system are overwritten: they are found where they were.
        self.io(path, "write -P 0x55 0 4M", "flush")
        text = self.tool("diff", path, "after", "--files")
        self.assertSaysAll(text, "partition 1: the file system is gone", "partition 2: 0 files differ")

    def test_mbr(self):
        self.check_partitions("dos")

    def test_one_that_was_made_anew(self):
        path = self.disk(size="32M")
        self.put(path, FileSystem(self.work / "fs.raw").path, "before")
        self.put(path, FileSystem(self.work / "other.raw").path, "after")
        self.assertIn("made anew", self.tool("diff", path, "before", "after", "--files"))

    def test_none_there(self):
        path = self.disk()
        self.io(path, "write -P 1 0 1M", "flush")
        self.assertSaysAll(self.refusal("diff", path, 0, "--files"), "disk.pds", "ext4", "view open")
        self.assertEqual(os.listdir(self.work / "run"), [])

    def test_damaged_ones_do_no_harm(self):
        """Whatever lies in tables and folders of a guest's: an answer, or an error, and nothing else."""
        raw = FileSystem(self.work / "fs.raw")
        path = self.disk(size="32M")
        self.put(path, raw.path, "sound")
        with open(raw.path, "r+b") as stream:
            for block in range(1, 200):
                stream.seek(block * 4096 + block * 37 % 4096)
                stream.write(os.urandom(64))
        self.put(path, raw.path, "damaged")
        for moments in (("sound", "damaged"), ("damaged", "sound")):
            self.assertIn(self.run_tool("diff", path, *moments, "--files").returncode, (0, 1))
        self.assertEqual(os.listdir(self.work / "run"), [])
