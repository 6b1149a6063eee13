# SPDX-License-Identifier: GPL-2.0-or-later
"""The two disks of the story, with the same steps: what predsnap does, and how qcow2 gets there."""
from lib import image
from lib.vm import Vm

DEVICE = "/dev/vda"
FILES = 24
FILE_BYTES = 256 * 1024
DISK_SIZE_GIB = 16
DATABASE_MIB = 32
DATABASE_WRITES = 2000
STAMP = "/mnt/database --seed 1 --direct"  # see tools/guest/stamp/


class StoryError(Exception):
    """Something in the story did not come out as it must."""


class Disk:
    """A disk image and the machine that uses it."""

    image_format = ""

    def __init__(self, work, accel):
        self.path = work / f"disk.{self.image_format}"
        self.vm = Vm(work, name=self.image_format, accel=accel)
        self.vm.add_disk(image.format_node("disk", self.image_format, self.path))
        self.sums = ""  # of the files, as the guest first computed them
        self.reports = []  # when each report was safely on the disk, microseconds

    @property
    def guest(self):
        return self.vm.guest

    def create(self):
        image.create(self.path, self.image_format, f"{DISK_SIZE_GIB}G")

    def boot(self):
        self.vm.start()

    def write_files(self):
        self.guest.run(f"mkfs.ext4 -q {DEVICE} && mount {DEVICE} /mnt && mkdir /mnt/files")
        write_one = f"head -c {FILE_BYTES} /dev/urandom >/mnt/files/file-$i"
        self.guest.run(f"for i in $(seq {FILES}); do {write_one} || exit 1; done; sync")
        self.guest.run(
            f"dd if=/dev/zero of=/mnt/database bs=1M count={DATABASE_MIB} conv=fsync 2>&1"
        )
        self.sums = self.guest.run("cd /mnt/files && sha256sum *")

    def work_on_database(self):
        """Random writes of 4 KiB, each waited for, over what the snapshot holds."""
        self.guest.run(f"stamp write {STAMP} --count {DATABASE_WRITES}")

    def write_report(self, clock_us):
        """One more file, on the disk when this returns."""
        name = f"report-{len(self.reports) + 1}"
        self.guest.run(f"head -c {FILE_BYTES} /dev/urandom >/mnt/{name} && sync")
        self.reports.append(clock_us())

    def destroy(self):
        """What a bad day does. Returns how the guest complains when it wants its files again."""
        self.guest.run("rm -rf /mnt/* && umount /mnt")
        self.guest.run(f"dd if=/dev/urandom of={DEVICE} bs=1M count=32 conv=fsync 2>&1")
        status, complaint = self.guest.try_run(f"mount {DEVICE} /mnt 2>&1")
        if status == 0:
            raise StoryError(f"{self.image_format}: the overwritten disk could still be mounted")
        return complaint.strip()

    def check_files(self, writes, reports):
        """Mounts the disk; every file must be as it was, the database as after so many writes to it, and of the
        reports exactly the first so many there."""
        self.guest.run(f"mount {DEVICE} /mnt")
        status, sums = self.guest.try_run("cd /mnt/files && sha256sum *")
        good = len(set(sums.splitlines()) & set(self.sums.splitlines()))
        if status or sums != self.sums:
            raise StoryError(f"{self.image_format}: only {good} of {FILES} files are as they were")
        self.guest.run(f"stamp verify {STAMP} --at-least {writes} --at-most {writes}")
        there = self.guest.run("cd /mnt && ls -d report-* 2>/dev/null; true").split()
        if there != [f"report-{i + 1}" for i in range(reports)]:
            raise StoryError(
                f"{self.image_format}: expected the first {reports} reports, found {there or 'none'}"
            )

    def kill(self):
        self.vm.kill()


class Predsnap(Disk):
    image_format = "predsnap"

    def snapshot(self, name):
        return self.vm.qmp.execute("predsnap-snapshot-create", node_name="disk", name=name)

    def points(self):
        return self.vm.qmp.execute("predsnap-query-points", node_name="disk")

    def rollback(self, **where):
        self.vm.qmp.execute("predsnap-rollback", node_name="disk", **where)

    def pause(self):
        self.vm.qmp.execute("stop")

    def reset(self):
        """The reset button; the same QEMU goes on."""
        self.vm.restart_guest()


class Qcow2(Disk):
    image_format = "qcow2"

    def snapshot(self, name):
        self.vm.qmp.execute("blockdev-snapshot-internal-sync", device="disk", name=name)

    def points(self):
        return self.vm.qmp.execute("query-named-block-nodes", flat=True)[0]["image"].get(
            "snapshots", []
        )

    def go_back(self, name):
        """QEMU has no command for one disk of a living VM: it must end, and be started again."""
        self.vm.quit()
        image.qemu_img("snapshot", "-a", name, self.path)
