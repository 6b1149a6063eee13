# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt-hooks/samples as this machine can run them: emulated, with the test guest's kernel and ports. The disks, what QEMU is told
and the metadata stay as they are."""
import xml.etree.ElementTree as ElementTree

from lib import libvirt, paths

FOLDER = paths.CHECKOUT / "libvirt-hooks/samples"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
PREDSNAP = "urn:predsnap:libvirt:1"
ElementTree.register_namespace("qemu", QEMU)
ElementTree.register_namespace("predsnap", PREDSNAP)


def load(sample, name=None, edit=None):
    """The domain XML of a sample. name: another name than its own, in everything; edit(root): further changes."""
    text = (FOLDER / f"{sample}.xml").read_text(encoding="utf-8")
    own = f"sample-{sample}"
    root = ElementTree.fromstring(text.replace(own, name or own))
    root.set("type", "qemu")
    root.find("memory").text = "192"
    root.find("vcpu").text = "1"
    root.find("cpu").attrib = {"mode": "maximum"}
    boot = ElementTree.fromstring(f"<os>{libvirt.boot_xml()}</os>")
    root.find("os").extend(boot)
    devices = root.find("devices")
    for serial in devices.findall("serial"):
        devices.remove(serial)
    ports = f"<controller type='usb' model='none'/><memballoon model='none'/>{libvirt.serial_xml(name or own)}"
    devices.extend(ElementTree.fromstring(f"<devices>{ports}</devices>"))
    if edit:
        edit(root)
    return ElementTree.tostring(root, encoding="unicode")


def protected(root, target="vda"):
    """The <predsnap:disk> of a domain."""
    return root.find(f"metadata/{{{PREDSNAP}}}disks/{{{PREDSNAP}}}disk[@target='{target}']")


def part(disk, name):
    return disk.find(f"{{{PREDSNAP}}}{name}")
