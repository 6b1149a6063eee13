# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests' own host: what it isolates, and that guests outlive what they should."""
import os
from pathlib import Path

from case import HostTest, disk_xml

from lib import libvirt


class TestHost(HostTest):
    def test_guest_outlives_libvirtd_and_not_a_crash(self):
        domain = self.define(libvirt.domain_xml("plain", disk_xml(self.create("plain.raw"))))
        domain.start()
        domain.guest.run("echo kept | dd of=/dev/vda conv=fsync")
        self.host.kill_libvirtd()
        domain.guest.run("true")
        self.host.start_libvirtd()
        self.assertEqual(domain.state(), "running")
        self.host.crash()
        self.host.start()
        self.assertEqual(domain.state(), "shut off")
        domain.start()
        self.assertEqual(domain.guest.run("head -c 4 /dev/vda"), "kept")

    def test_stock_qemu_boots_the_guest(self):
        domain = self.define(libvirt.domain_xml("stock", emulator="/usr/bin/qemu-system-x86_64"))
        domain.start()
        domain.guest.run("uname -r")

    def test_the_machine_is_left_alone(self):
        self.assertTrue((self.host.run_folder / "libvirtd.pid").exists())
        self.assertEqual(self.host.run(["hostname"]).strip(), "host")
        self.assertNotEqual(os.uname().nodename, "host")
        for inner, seen in (("/etc/libvirt/qemu.conf", "etc/libvirt/qemu.conf"), ("/run/libvirtd.pid", "run/libvirtd.pid")):
            self.assertEqual(self.host.run(["cat", inner]), (self.host.folder / seen).read_text())
        self.host.run(["touch", "/etc/predsnap/probe", "/var/lib/libvirt/images/probe"])
        self.assertFalse(Path("/etc/predsnap/probe").exists())
        self.assertFalse(Path("/var/lib/libvirt/images/probe").exists())
