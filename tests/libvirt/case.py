# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests with libvirt start from."""
import unittest

from lib import image, libvirt, workdir

IMAGES = "/var/lib/libvirt/images"  # as seen inside


class HostTest(unittest.TestCase):
    """A host for the whole class; the domains of one test are gone at its end."""

    longMessage = True

    @classmethod
    def setUpClass(cls):
        cls.work = workdir.WorkDir("libvirt")
        cls.addClassCleanup(cls.work.close)
        cls.host = libvirt.Host(cls.work / "host")
        cls.addClassCleanup(cls.host.stop)
        cls.prepare_host()
        cls.host.start()

    @classmethod
    def prepare_host(cls):
        """Before libvirtd starts: hooks, configuration."""

    def create(self, name, image_format="raw", size="256M", *options):
        """An image in the host's folder for them; its path inside."""
        image.create(self.host.images / name, image_format, size, *options)
        return f"{IMAGES}/{name}"

    def check_image(self, path):
        """Inside, where the disk below is found."""
        self.host.run(["/opt/predsnap/bin/qemu-img", "check", "-q", "-f", "predsnap", path])

    def define(self, xml):
        domain = self.host.define(xml)
        self.addCleanup(self.remove, domain)
        return domain

    def remove(self, domain):
        domain.close()
        self.host.try_virsh("destroy", domain.name)
        self.host.try_virsh("undefine", domain.name)


def disk_xml(path, image_format="raw", target="vda", cache="none"):
    """A file as a virtio disk."""
    return (f"<disk type='file' device='disk'><driver name='qemu' type='{image_format}' cache='{cache}' discard='unmap'/>"
            f"<source file='{path}'/><target dev='{target}' bus='virtio'/></disk>")
