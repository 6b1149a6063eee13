# SPDX-License-Identifier: GPL-2.0-or-later
"""The disks that are compared: how each is made, prepared for a round, and described to QEMU."""
import dataclasses
import os
from pathlib import Path

from lib import image

from . import img_bench
from .settings import BLOCK

QCOW2_CLUSTER = 64 * 1024
SUBCLUSTER_OPTIONS = "extended_l2=on,cluster_size=128k"  # subclusters of 4 KiB


def file_node(path, direct=True):
    """O_DIRECT and io_uring, as for all measurements on the disk."""
    return {
        "driver": "file",
        "filename": str(path),
        "aio": "io_uring",
        "cache": {"direct": direct},
    }


def format_node(driver, path, direct=True, **options):
    return {
        "driver": driver,
        "file": file_node(path, direct),
        "cache": {"direct": direct},
        **options,
    }


def forget_pages(path):
    """Takes the file out of the page cache, where qemu-img leaves what it preallocates. A direct write to a
    page that is cached takes another way through the kernel, by a worker thread, than all later ones."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Peer:
    """A disk of one kind. build() is called once for a row, prepare() before every round."""

    label = ""
    driver = ""

    def __init__(self, work, settings):
        self.work = work
        self.size = settings.size
        self.path = work / f"{type(self).__name__}.img"
        self.access_log = Path(f"{self.path}.log") if settings.predicted and self.driver == "predsnap" else None

    def build(self):
        image.create(self.path, self.driver, self.size, "-o", "preallocation=full")
        forget_pages(self.path)

    def prepare(self, round_number):
        pass

    def overwritten(self):
        """Called when all of it was written in random order, where a row does that."""

    def node(self):
        recorded = {"access-log": str(self.access_log)} if self.access_log else {}
        return format_node(self.driver, self.path, **recorded)

    @classmethod
    def space(cls, settings):
        """The most it has on disk in a row that writes, in bytes."""
        return settings.size * 9 // 8

    def requests_max(self):
        """More 4 KiB writes in one round would come to where the round has already been."""
        return self.size // BLOCK

    def load(self, load):
        """What it is put under where the others are under that load."""
        return load


class Raw(Peer):
    label = "raw"
    driver = "raw"


class RawGathered(Raw):
    """What no log can exceed: all requests that wait are one long write, which costs no processor time."""

    label = "the limit: raw, waiting requests as one write"

    def load(self, load):
        return dataclasses.replace(load, depth=1, length=load.length * load.depth, stride=None)


class Qcow2(Peer):
    label = "qcow2, fresh"
    driver = "qcow2"


class Qcow2AfterSnapshot(Peer):
    """Every round begins with a snapshot, so that its writes are first writes."""

    label = "qcow2, after internal snapshot"
    driver = "qcow2"

    def prepare(self, round_number):
        image.qemu_img("snapshot", "-c", f"round-{round_number}", self.path)

    @classmethod
    def space(cls, settings):
        return settings.size * (6 + settings.rounds) // 4

    def requests_max(self):
        return self.size // QCOW2_CLUSTER // 4


class Overlay(Peer):
    """A new overlay for every round, on the row's raw disk."""

    label = "qcow2 overlay on raw"
    driver = "qcow2"
    options = f"cluster_size={QCOW2_CLUSTER}"

    def __init__(self, work, settings, base):
        super().__init__(work, settings)
        self.base = base

    def build(self):
        pass

    def prepare(self, round_number):
        self.path.unlink(missing_ok=True)
        image.qemu_img(
            *("create", "-q", "-f", "qcow2", "-b", self.base.path, "-F", "raw"),
            *("-o", self.options, self.path),
        )

    def node(self):
        return format_node("qcow2", self.path, backing=self.base.node())

    def requests_max(self):
        return self.size // QCOW2_CLUSTER // 2


class SubclusterOverlay(Overlay):
    label = "qcow2 overlay on raw, subclusters"
    options = SUBCLUSTER_OPTIONS


class CopyBeforeWrite(Overlay):
    """A filter over the row's raw disk that saves old content to a new qcow2 image in every round."""

    label = "copy-before-write filter over raw"

    def prepare(self, round_number):
        self.path.unlink(missing_ok=True)
        image.create(self.path, "qcow2", self.size)

    def node(self):
        return {
            "driver": "copy-before-write",
            "file": self.base.node(),
            "target": format_node("qcow2", self.path),
        }


class Predsnap(Peer):
    """A new image for every round, its log written ahead as the others' space is."""

    label = "predsnap"
    driver = "predsnap"

    def build(self):
        pass

    def prepare(self, round_number):
        for path in self.work.path.glob(f"{self.path.name}*"):
            path.unlink()
        super().build()

    @classmethod
    def space(cls, settings):
        return 2 * settings.size


class PredsnapGrowing(Peer):
    """One image that was not preallocated and goes on through all rounds."""

    label = "predsnap, not preallocated"
    driver = "predsnap"

    def build(self):
        image.create(self.path, self.driver, self.size)

    @classmethod
    def space(cls, settings):
        return settings.size + settings.log_bytes


class PredsnapAfterSnapshot(Predsnap):
    """The same, with a part written, and a snapshot made."""

    label = "predsnap, after snapshot"

    def prepare(self, round_number):
        super().prepare(round_number)
        img_bench.run(self.node(), img_bench.RANDOM_WRITE, self.size // BLOCK // 16)
        image.qemu_img("snapshot", "-c", f"round-{round_number}", self.path)


def make(kinds, work, settings):
    """The peers of a row. Those over a raw disk share that of the row, which comes first."""
    raw = Raw(work, settings)
    made = []
    for kind in kinds:
        if kind is Raw:
            made.append(raw)
        elif issubclass(kind, Overlay):
            made.append(kind(work, settings, raw))
        else:
            made.append(kind(work, settings))
    return made
