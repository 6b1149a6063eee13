# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration of a protected domain from one libvirt to another, over images that both see."""
import samples
from case import IMAGES
from hook import STAMP, HookTest, install

from lib import libvirt


class TestMigration(HookTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = libvirt.Host(cls.work / "other", name="other", shared={IMAGES: cls.host.images})
        cls.addClassCleanup(cls.other.stop)
        install(cls.other)
        cls.other.start()

    def migrate(self, source, target):
        """Tunnelled through a socket that both see: their networks are apart. --unsafe: libvirt takes the folder for local."""
        folder = self.host.images / "migration"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        arrived = libvirt.Domain(target, source.name)
        arrived.listen()
        source.host.virsh("migrate", "--live", "--unsafe", "--undefinesource", "--persistent", source.name, target.uri,
                          "--migrateuri", f"unix://{IMAGES}/migration/{source.name}")
        arrived.guest.accept(arrived)
        self.addCleanup(target.try_virsh, "undefine", source.name)
        self.addCleanup(target.try_virsh, "destroy", source.name)
        self.addCleanup(arrived.close)
        return arrived

    def test_there_and_back_under_load(self):
        self.create("sample-node.raw")
        domain = self.define(samples.load("node")).start()
        domain.guest.run(f"stamp write {STAMP} --count 100 --sync-every 20")
        self.assertIn("id", domain.qmp("predsnap-snapshot-create", node_name="predsnap-vda", name="before"))
        writer = domain.guest.background(f"stamp write {STAMP} --sync-every 20 --read-back 20 --resume")
        for target in (self.other, self.host):
            source, domain = domain, self.migrate(domain, target)
            source.close()
            writer.use_guest(domain.guest)
            domain.guest.run("sleep 0.5")
            self.assertTrue(writer.running())
            self.assertEqual(source.host.virsh("list", "--all", "--name").strip(), "")
        writer.stop()
        end = writer.wait_json()["prefix"][0]
        domain.guest.run(f"stamp verify {STAMP} --at-least {end} --at-most {end}")
        names = [s["name"] for s in domain.qmp("query-predsnap")[0]["snapshots"]]
        self.assertEqual(names, ["before"])
        domain.destroy()
        self.check_image(f"{IMAGES}/sample-node-vda.pds")
