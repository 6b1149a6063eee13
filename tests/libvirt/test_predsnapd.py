# SPDX-License-Identifier: GPL-2.0-or-later
"""predsnapd finds the disks of libvirt's domains, and goes on whatever dies."""
import http.client
import os
import re
import signal
import socket

import hook
import samples
from case import HostTest, disk_xml
from lib import paths
from lib.libvirt import domain_xml
from lib.process import Process, wait_until

PREDSNAPD = paths.CHECKOUT / "build/tools/predsnapd/predsnapd"
LOGS = "/var/log/predsnap"


def protected_xml(name, monitor):
    """A domain with the driver's QEMU and a predsnap image; its metadata say so, and name a monitor if there is one."""
    image, log = f"/var/lib/libvirt/images/{name}.pds", f"{LOGS}/{name}.log"
    path = f"/var/lib/libvirt/qemu/{name}-predsnap.qmp"
    socket_element = f"<p:monitor socket='{path}'/>" if monitor else ""
    socket_arguments = "".join(f"<qemu:arg value='{value}'/>" for value in (
        "-chardev", f"socket,id=predsnap,server=on,wait=off,path={path}", "-mon", "chardev=predsnap,mode=control")) if monitor else ""
    node = (f'{{"driver":"predsnap","node-name":"predsnap-vda","backing":"libvirt-1-format","access-log":"{log}",'
            f'"file":{{"driver":"file","filename":"{image}"}}}}')
    extra = (f"<metadata><p:disks xmlns:p='urn:predsnap:libvirt:1'><p:disk target='vda' weight='8'><p:image file='{image}'/>"
             f"<p:access-log file='{log}'/>{socket_element}</p:disk></p:disks></metadata>"
             f"<qemu:commandline><qemu:arg value='-blockdev'/><qemu:arg value='{node}'/>{socket_arguments}</qemu:commandline>"
             "<qemu:override><qemu:device alias='virtio-disk0'><qemu:frontend><qemu:property name='drive' type='string' "
             "value='predsnap-vda'/></qemu:frontend></qemu:device></qemu:override>")
    return domain_xml(name, disks=disk_xml(f"/var/lib/libvirt/images/{name}.raw"), extra=extra)


class PredsnapdTest(HostTest):
    def setUp(self):
        self.metrics = self.host.run_folder / "metrics.sock"
        self._starts = 0

    def predsnapd(self, *sources):
        self._starts += 1
        args = [PREDSNAPD, "run", *sources, "--metrics", "/run/metrics.sock", "--tick", "1", "--state", "/var/lib/predsnapd"]
        process = Process("predsnapd", self.host.inside(args), self.work / f"predsnapd-{self._starts}.log")
        self.addCleanup(process.kill)
        return process

    def page(self):
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.metrics))
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    def metric(self, name, **labels):
        for line in self.page().splitlines():
            found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
            if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                return float(found[2])
        return None

    def wait_for(self, name, value, **labels):
        wait_until(lambda: self.metric(name, **labels) == value, f"{name} {labels} to be {value}")


class Predsnapd(PredsnapdTest):
    @classmethod
    def prepare_host(cls):
        os.chmod(cls.host.folder / "log/predsnap", 0o777)  # who makes it for QEMU's user otherwise is the hook

    def define_protected(self, name, monitor):
        self.create(f"{name}.raw")
        self.create(f"{name}.pds", "predsnap", "256M")
        for suffix in ("raw", "pds"):
            self.host.run(["chown", "libvirt-qemu:kvm", f"/var/lib/libvirt/images/{name}.{suffix}"])
        return self.define(protected_xml(name, monitor))

    def tainted_by_monitor(self, domain):
        return "custom-monitor" in domain.log(100000)

    def test_domains_come_and_go_and_what_dies_comes_back(self):
        own, through = self.define_protected("own", True), self.define_protected("through", False)
        daemon = self.predsnapd("--libvirt", "qemu:///system")
        self.wait_for("predsnapd_libvirt_connected", 1)
        self.assertEqual(self.metric("predsnapd_disks"), 0)
        own.start()
        self.wait_for("predsnap_up", 1, disk="own-vda")
        self.assertEqual(self.metric("predsnap_disk_info", disk="own-vda", domain="own", monitor="socket"), 1)
        through.start(wait_boot=False)
        self.wait_for("predsnap_up", 1, disk="through-vda")
        self.assertEqual(self.metric("predsnap_disk_info", disk="through-vda", domain="through", monitor="libvirt"), 1)
        # Only who has no monitor of its own is marked.
        self.assertEqual((self.tainted_by_monitor(own), self.tainted_by_monitor(through)), (False, True))

        own.guest.run("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt")
        work = own.guest.background("for i in $(seq 60); do dd if=/dev/urandom of=/mnt/$i bs=64k count=4 conv=fsync 2>/dev/null "
                                    "|| exit 1; usleep 200000; done")
        wait_until(lambda: (self.metric("predsnap_log_records_total", disk="own-vda") or 0) > 20, "the guest's writes")
        self.host.kill_libvirtd()
        self.wait_for("predsnapd_libvirt_connected", 0)
        self.assertEqual(self.metric("predsnapd_disks"), 2)  # guests run on without libvirtd
        seen = self.metric("predsnap_points_seen_total", disk="own-vda")
        wait_until(lambda: self.metric("predsnap_points_seen_total", disk="own-vda") > seen, "further points")
        self.wait_for("predsnap_up", 0, disk="through-vda")
        self.host.start_libvirtd()
        self.wait_for("predsnapd_libvirt_connected", 1)
        self.wait_for("predsnap_up", 1, disk="through-vda")
        self.assertIn("libvirt can be reached again", daemon.log())

        os.kill(daemon.pid, signal.SIGKILL)  # in the middle of the guest's writes
        daemon.wait()
        self.predsnapd("--libvirt", "qemu:///system")
        wait_until(lambda: (self.metric("predsnap_predictions_sent_total", disk="own-vda") or 0) >= 1, "predictions")
        work.wait()  # no I/O error
        self.assertEqual(self.metric("predsnap_corrupt", disk="own-vda"), 0)

        through.destroy()
        wait_until(lambda: self.metric("predsnap_up", disk="through-vda") is None, "the disk to be gone")
        own.guest.run("umount /mnt")
        own.destroy()
        self.wait_for("predsnapd_disks", 0)
        self.check_image("/var/lib/libvirt/images/own.pds")

    def test_metadata_are_followed_while_the_domain_runs(self):
        domain = self.define_protected("live", True)
        self.predsnapd("--libvirt", "qemu:///system")
        domain.start(wait_boot=False)
        self.wait_for("predsnap_up", 1, disk="live-vda")
        self.host.virsh("metadata", "live", "urn:predsnap:libvirt:1", "--live", "--remove")
        # Without metadata it goes by what QEMU was told, and has no other monitor than libvirt's.
        self.wait_for("predsnap_up", 1, disk="live-predsnap-vda")
        self.assertEqual(self.metric("predsnap_disk_info", disk="live-predsnap-vda", monitor="libvirt"), 1)
        self.assertEqual(self.metric("predsnapd_disks"), 1)
        self.host.virsh("metadata", "live", "urn:predsnap:libvirt:1", "--live", "--key", "p", "--set",
                        "<disks><disk target='vda' weight='11'/></disks>")
        self.wait_for("predsnapd_configuration_errors", 1)
        self.host.virsh("metadata", "live", "urn:predsnap:libvirt:1", "--live", "--key", "p", "--set",
                        "<disks><disk target='vda' weight='1'><monitor socket='/var/lib/libvirt/qemu/live-predsnap.qmp'/></disk></disks>")
        self.wait_for("predsnapd_configuration_errors", 0)
        self.wait_for("predsnap_up", 1, disk="live-vda")


class PredsnapdAndHook(PredsnapdTest):
    """Without asking libvirt: the hook says which disks there are."""

    @classmethod
    def prepare_host(cls):
        hook.install(cls.host)

    def test_the_hook_tells_of_disks_in_qemu_and_in_storage_daemons(self):
        self.create("sample-node.raw")
        self.create("sample-daemon.raw")
        node, beside = self.define(samples.load("node")), self.define(samples.load("daemon"))
        daemon = self.predsnapd("--drop-ins", "/run/predsnap/disks.d")
        node.start(wait_boot=False)
        beside.start(wait_boot=False)
        for name in ("sample-node-vda", "sample-daemon-vda"):
            self.wait_for("predsnap_up", 1, disk=name)
            self.assertEqual(self.metric("predsnap_disk_info", disk=name, monitor="socket"), 1)
            self.assertEqual(self.metric("predsnap_log_readable", disk=name), 1)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
        self.predsnapd("--drop-ins", "/run/predsnap/disks.d")
        self.wait_for("predsnap_up", 1, disk="sample-daemon-vda")
        beside.destroy()
        self.wait_for("predsnapd_disks", 1)
        node.destroy()
        self.wait_for("predsnapd_disks", 0)
