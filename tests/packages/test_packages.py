# SPDX-License-Identifier: GPL-2.0-or-later
"""What the packages put on a clean Debian works there."""
import os
import re
import signal
import socket
import subprocess
import time
import unittest
from pathlib import Path

from clean_debian import CleanDebian
from lib import image, paths
from lib.process import Process, wait_until
from lib.vm import Vm
from lib.workdir import WorkDir

MIB = 1 << 20
CONFIG = """[daemon]
state=/var/lib/predsnapd
metrics={work}/metrics.sock
tick=1
[disk vm]
log={work}/access.log
qmp={work}/predsnapd.qmp
node=disk
"""


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = WorkDir("packages")
        cls.addClassCleanup(cls.work.close)
        start = time.monotonic()
        built = subprocess.run([paths.CHECKOUT / "tools/build-packages"], stdout=subprocess.PIPE, text=True, check=True)
        cls.debs = [Path(line) for line in built.stdout.splitlines()]
        middle = time.monotonic()
        seen = cls.work / "seen"
        seen.mkdir()
        cls.debian = CleanDebian(cls.work / "root", seen, cls.debs)
        cls.seen = seen
        print(f"# packages built in {middle - start:.0f} s, installed in a clean Debian in {time.monotonic() - middle:.0f} s",
              flush=True)

    def start(self, name, *args):
        process = Process(name, self.debian.inside(*args), self.seen / f"{name}.log")
        self.addCleanup(process.kill)
        return process

    def test_scripts(self):
        scripts = [paths.CHECKOUT / "tools/build-packages", paths.CHECKOUT / "debian/relocate",
                   paths.CHECKOUT / "debian/predsnapd.postrm"]
        done = subprocess.run(["shellcheck", "-x", *scripts], cwd=paths.CHECKOUT / "tools", capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.stdout, "")

    def test_the_packages_are_those_that_are_promised(self):
        names = {path.name.split("_")[0] for path in self.debs}
        self.assertEqual(names, {"qemu-predsnap", "predsnap-tools", "predsnapd", "predsnap-libvirt-hook"})
        size = sum(path.stat().st_size for path in self.debs)
        self.assertLess(size, 60 * MIB)
        # Nothing of the stock QEMU's is in their place.
        listed = self.debian.run("dpkg", "-L", "qemu-predsnap")
        programs = [line for line in listed.splitlines() if "/bin/" in line]
        self.assertEqual(len(programs), 5)
        self.assertTrue(all(line.startswith("/opt/predsnap/bin/") for line in programs), programs)

    def test_programs_say_what_they_are(self):
        version = re.search(r"version: '(\S+)'", (paths.CHECKOUT / "meson.build").read_text(encoding="utf-8"))[1]
        self.assertIn(version, self.debian.run("predsnap", "--version"))
        self.assertIn("10.0", self.debian.run("/opt/predsnap/bin/qemu-system-x86_64", "--version"))
        self.assertIn(" predsnap predsnap-view ", self.debian.run("/opt/predsnap/bin/qemu-img", "--help"))
        self.assertIn("--metrics", self.debian.run("predsnapd", "run", "--help"))
        self.assertIn("the configuration is good",
                      self.debian.run("predsnapd", "run", "--check", "--config", "/etc/predsnap/predsnapd.conf"))

    def test_the_unit_names_what_is_there(self):
        unit = self.debian.run("cat", "/lib/systemd/system/predsnapd.service")
        command = re.search(r"^ExecStart=(.*)", unit, re.MULTILINE)[1].split()
        self.debian.run("test", "-x", command[0])
        self.assertIn("the configuration is good", self.debian.run(*command, "--check"))

    def test_the_hook_runs_where_libvirt_looks(self):
        self.assertIn("-daemon.log", self.debian.run("cat", "/etc/logrotate.d/predsnap"))
        hook = "/etc/libvirt/hooks/qemu.d/predsnap"
        domain = "<domain type='kvm'><name>plain</name><devices/></domain>"
        done = self.debian.try_run(hook, "plain", "prepare", "begin", "-", input=domain)
        self.assertEqual(done.returncode, 0, done.stderr)
        disk = ("<metadata><p:disks xmlns:p='urn:predsnap:libvirt:1'><p:disk target='vda' colour='red'/></p:disks></metadata>")
        done = self.debian.try_run(hook, "plain", "prepare", "begin", "-", input=domain.replace("<devices", disk + "<devices"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("vda", done.stderr)

    def test_a_guest_on_a_predsnap_disk_is_watched_and_goes_back(self):
        os.environ["PREDSNAP_QEMU_BIN"] = str(self.debian.programs(self.work / "bin"))
        self.addCleanup(os.environ.pop, "PREDSNAP_QEMU_BIN")
        disk = self.seen / "disk.pds"
        image.create(disk, "predsnap", "256M")
        vm = Vm(self.seen)
        self.addCleanup(vm.kill)
        vm.add("-chardev", f"socket,id=m,path={self.seen}/predsnapd.qmp,server=on,wait=off", "-mon", "chardev=m,mode=control")
        vm.add_disk(image.format_node("disk", "predsnap", disk, **{"access-log": str(self.seen / "access.log")}))
        vm.start()
        (self.seen / "predsnapd.conf").write_text(CONFIG.format(work=self.seen), encoding="ascii")
        daemon = self.start("predsnapd", "predsnapd", "run", "--config", self.seen / "predsnapd.conf")
        vm.guest.run("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && echo kept >/mnt/file && umount /mnt")
        vm.qmp.execute("predsnap-snapshot-create", node_name="disk", name="before")
        vm.guest.run("dd if=/dev/zero of=/dev/vda bs=1M count=8 conv=fsync")
        wait_until(lambda: 'predsnap_up{disk="vm"} 1' in self.metrics(), "predsnapd to have asked QEMU", process=daemon)
        wait_until(lambda: 'predsnap_snapshots{disk="vm"} 1' in self.metrics(), "the snapshot in the metrics", process=daemon)
        os.kill(daemon.pid, signal.SIGTERM)
        self.assertEqual(daemon.wait(10), 0)
        vm.qmp.execute("stop")
        vm.qmp.execute("predsnap-rollback", node_name="disk", snapshot="before")
        vm.restart_guest()
        self.assertEqual(vm.guest.run("mount /dev/vda /mnt && cat /mnt/file").strip(), "kept")
        vm.quit()
        image.check(disk, "predsnap")
        self.assertIn("before", self.debian.run("predsnap", "snapshot", "list", disk))

    def metrics(self):
        try:
            with socket.socket(socket.AF_UNIX) as page:
                page.settimeout(10)
                page.connect(str(self.seen / "metrics.sock"))
                page.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return page.makefile("rb").read().decode()
        except OSError:
            return ""

    def test_zz_purging_leaves_nothing(self):
        """Last by its name, as it takes away what the others need."""
        names = [path.name.split("_")[0] for path in self.debs]
        self.debian.run("apt-get", "purge", "-y", "-qq", *names)
        found = self.debian.run("find", "/", "-xdev", "-path", "/proc", "-prune", "-o", "-path", "/debs", "-prune", "-o",
                                "-name", "*predsnap*", "-print")
        # The folders of the host's that are seen inside, and what leads to them, are not the packages'.
        seen = [self.seen, paths.guest_dir()]
        left = [name for name in map(Path, found.splitlines())
                if not any(folder.is_relative_to(name) or name.is_relative_to(folder) for folder in seen)]
        self.assertEqual(left, [])
