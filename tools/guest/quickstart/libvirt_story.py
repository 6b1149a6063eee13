# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of a running libvirt domain are rewritten with noise, as ransomware does, and got back with the `predsnap` command."""
import hashlib
import json
import shlex
import time

from lib import libvirt

from . import screen
from .disks import FILES, STAMP, StoryError

DOMAIN = "office"
DISK = "vda"
TARGET = f"{DOMAIN}:{DISK}"
IMAGE = f"/var/lib/libvirt/images/{DOMAIN}.raw"
DISK_SIZE = "2G"
DEVICE = f"/dev/{DISK}"
DATABASE_MIB = 16
FILE_BYTES = 1 << 20
QUIET_S = 5  # of ordinary work before the attack
VICTIM = "file-7"


class LibvirtStory:
    """Each step is a command that an administrator types; what it says and how long it took is printed."""

    def __init__(self, work, predsnap):
        self._host = libvirt.Host(work / "host", name="quickstart")
        self._predsnap = str(predsnap)
        self._domain = None
        self._number = 0
        self._sums = {}  # of the files, as the guest first computed them

    def tell(self):
        self._start_domain()
        self._protect()
        self._work_on()
        self._attack()
        moment = self._find_moment()
        self._look_at_file(moment)
        self._go_back(moment)

    def close(self):
        if self._domain:
            self._domain.close()
        self._host.stop()

    # What is printed.
    def _say_step(self, label):
        self._number += 1
        screen.say(f"{self._number:3d}  {label}")

    def _timed(self, label, action):
        self._say_step(label)
        start_s = time.monotonic()
        result = action()
        screen.note(screen.dim(f"took {screen.duration(time.monotonic() - start_s)}"))
        return result

    def _type(self, *words, show=True, good=(0,)):
        """Runs a command on the host, shown as it would be typed; what it prints. good: what status it may have."""
        screen.note(screen.bold("$ " + shlex.join(words)))
        start_s = time.monotonic()
        command = [self._predsnap, *words[1:]] if words[0] == "predsnap" else words
        status, output, errors = self._host.try_run(command)
        took = time.monotonic() - start_s
        for line in (output + errors).splitlines() if show or status not in good else []:
            screen.note("  " + line)
        if status not in good:
            raise StoryError(f"'{shlex.join(words)}' ended with status {status}")
        screen.note(screen.dim(f"took {screen.duration(took)}"))
        return output

    # What happens.
    def _start_domain(self):
        def start():
            self._host.start()
            disk = self._host.images / f"{DOMAIN}.raw"
            self._host.run(["/opt/predsnap/bin/qemu-img", "create", "-q", "-f", "raw", IMAGE, DISK_SIZE])
            xml = libvirt.domain_xml(
                DOMAIN,
                f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' discard='unmap'/>"
                f"<source file='{IMAGE}'/><target dev='{DISK}' bus='virtio'/></disk>",
            )
            self._domain = self._host.define(xml)
            self._domain.start()
            return disk

        self._timed(f"A libvirt of its own starts; domain '{DOMAIN}' on a raw disk boots Linux", start)
        self._timed(f"The guest makes ext4, {FILES} files and a database", self._write_files)

    @property
    def _guest(self):
        return self._domain.guest

    def _write_files(self):
        self._guest.run(f"mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 {DEVICE} && mount {DEVICE} /mnt && mkdir /mnt/files")
        write_one = f"head -c {FILE_BYTES} /dev/urandom >/mnt/files/file-$i"
        self._guest.run(f"for i in $(seq {FILES}); do {write_one} || exit 1; done; sync")
        self._guest.run(f"dd if=/dev/zero of=/mnt/database bs=1M count={DATABASE_MIB} conv=fsync 2>&1")
        lines = self._guest.run("cd /mnt/files && sha256sum *").splitlines()
        self._sums = {name: digest for digest, name in (line.split() for line in lines)}

    def _protect(self):
        self._say_step("Put predsnap under the running guest")
        self._type("predsnap", "protect", TARGET)

    def _work_on(self):
        def work():
            end_s = time.monotonic() + QUIET_S
            count = 0
            while time.monotonic() < end_s:
                time.sleep(0.1)
                self._guest.run(f"stamp write {STAMP} --count 4 --sync-every 2 {'--resume' if count else ''}")
                count += 4
            return count

        self._written = self._timed(f"The guest works on, for {QUIET_S} s", work)

    def _attack(self):
        def attack():
            noise = f"head -c {FILE_BYTES} /dev/urandom >$f && sync && mv $f $f.locked"
            self._guest.run(f"cd /mnt/files && for f in *; do {noise} || exit 1; done; sync")
            return self._guest.run("cd /mnt/files && ls | head -3").split()

        time.sleep(1)
        names = self._timed("Ransomware: every file is rewritten with noise, and renamed", attack)
        screen.note(screen.red(f"guest: {' '.join(names)} ..."))

    def _find_moment(self):
        """The last point before the rate of change jumps, as the command finds it."""
        self._say_step("When did it begin?")
        self._type("predsnap", "points", TARGET, "--limit", "5")
        listed = json.loads(self._host.run([self._predsnap, "points", TARGET, "--json", "--limit", "1"]))
        jumps = [jump for jump in listed["jumps"] if "last-point-before" in jump]
        if not jumps:
            raise StoryError("'predsnap points' found no moment at which the rate of change jumps")
        return str(jumps[-1]["last-point-before"])

    def _look_at_file(self, moment):
        """Read-only, beside the running guest, before anything is decided."""
        self._say_step(f"Look at {VICTIM} as it was then, while the guest runs on")
        view = json.loads(self._type("predsnap", "view", "open", TARGET, moment, "--json", show=False))
        copy = "/var/lib/libvirt/images/view.raw"
        self._type("nbdcopy", view["url"], copy)
        self._type("e2fsck", "-p", copy, show=False, good=(0, 1))  # what the guest had only in its journal
        self._type("debugfs", "-R", f"dump /files/{VICTIM} /run/{VICTIM}", copy, show=False)
        extracted = self._host.run_folder / VICTIM
        content = extracted.read_bytes() if extracted.exists() else b""
        self._type("predsnap", "view", "close", view["id"])
        if hashlib.sha256(content).hexdigest() != self._sums[VICTIM]:
            raise StoryError(f"{VICTIM} in the view is not as it was before the attack")
        screen.note(screen.green(f"{VICTIM} is what it was"))

    def _go_back(self, moment):
        self._say_step("Go back; the machine is reset and boots")
        self._type("predsnap", "rollback", TARGET, "--to", moment, "--yes")
        self._timed("The guest boots again and checks every file", self._check_files)
        screen.note(screen.green(f"{FILES} files as they were, the database with every write before the attack"))

    def _check_files(self):
        self._guest.wait_boot()
        self._guest.run(f"mount {DEVICE} /mnt")
        lines = self._guest.run("cd /mnt/files && sha256sum *").splitlines()
        sums = {name: digest for digest, name in (line.split() for line in lines)}
        if sums != self._sums:
            good = sum(self._sums.get(name) == digest for name, digest in sums.items())
            raise StoryError(f"only {good} of {FILES} files are as they were")
        self._guest.run(f"stamp verify {STAMP} --at-least {self._written} --at-most {self._written}")
