# SPDX-License-Identifier: GPL-2.0-or-later
"""Views: over NBD, as a file, as a writable clone; of an image and of an open disk."""
import os
import subprocess

from case import CliTest
from lib import image
from lib.nbd import NbdClient

MIB = 1 << 20


class View(CliTest):
    def make(self):
        path = self.disk()
        self.io(path, "write -P 1 0 1M", "flush")
        self.tool("snapshot", "create", path, "one")
        self.io(path, "write -P 2 0 1M", "flush")
        return path

    def read(self, view, length=MIB):
        with NbdClient(view["socket"], view["id"]) as client:
            return client.read(0, length)

    def views(self):
        return {view["id"]: view["served"] for view in self.ask("view", "list")}

    def test_an_image_over_nbd(self):
        path = self.make()
        view = self.ask("view", "open", path, "one")
        self.assertEqual(self.read(view), b"\1" * MIB)
        self.assertEqual(self.views(), {view["id"]: True})
        self.assertIn("snapshot 'one'", self.tool("view", "list"))
        self.assertIn(f"view close {view['id']}", self.refusal("rollback", path, "--to", "one", "--yes"))
        self.tool("view", "close", view["id"])
        self.assertEqual(self.views(), {})
        self.assertEqual(os.listdir(self.work / "run"), [])
        self.tool("rollback", path, "--to", "one", "--yes")

    def test_it_cannot_be_written_to(self):
        view = self.ask("view", "open", self.make(), "one")
        done = subprocess.run(["nbdinfo", "--is", "read-only", view["url"]], check=False)
        self.assertEqual(done.returncode, 0)

    def test_as_a_file(self):
        file = self.work / "then.raw"
        view = self.ask("view", "open", self.make(), "one", "--fuse", file)
        with open(file, "rb") as stream:
            self.assertEqual(stream.read(MIB), b"\1" * MIB)
        self.assertEqual(os.path.getsize(file), 64 * MIB)
        self.tool("view", "close", view["id"])
        self.assertFalse(file.exists())

    def test_a_writable_clone(self):
        path = self.make()
        clone = self.work / "clone.qcow2"
        view = self.ask("view", "open", path, "one", "--clone", clone)
        with NbdClient(view["socket"], view["id"]) as client:
            client.write(4096, b"\7" * 4096)
            client.flush()
            self.assertEqual(client.read(0, 12288), b"\1" * 4096 + b"\7" * 4096 + b"\1" * 4096)
        self.tool("view", "close", view["id"])
        self.assertTrue(clone.exists())
        self.assertEqual(self.ask("diff", path, "one")["bytes"], MIB)  # the disk itself has not changed

    def test_several_of_an_open_disk_share_a_server(self):
        path = self.make()
        self.daemon(path)
        first = self.ask("view", "open", self.socket, "one")
        second = self.ask("view", "open", self.socket, "now")
        self.assertEqual(first["socket"], second["socket"])
        self.assertEqual((self.read(first), self.read(second)), (b"\1" * MIB, b"\2" * MIB))
        self.tool("view", "close", first["id"])
        self.assertEqual(self.read(second), b"\2" * MIB)
        self.tool("view", "close", "--all")
        self.assertFalse(os.path.exists(second["socket"]))
        nodes = {node["node-name"] for node in self.daemon_nodes()}
        self.assertFalse({name for name in nodes if name.startswith("predsnap-")}, nodes)

    def daemon_nodes(self):
        return self.open_daemon.qmp.execute("query-named-block-nodes", flat=True)

    def daemon(self, *disks):
        self.open_daemon = super().daemon(*disks)
        return self.open_daemon

    def test_a_server_of_somebody_elses(self):
        daemon = self.daemon(self.make())
        daemon.qmp.execute("nbd-server-start", addr={"type": "unix", "data": {"path": str(self.work / "other.nbd")}})
        self.assertSaysAll(self.refusal("view", "open", self.socket, "one"), "NBD server", "--fuse")
        self.assertFalse([n for n in self.daemon_nodes() if n["node-name"].startswith("predsnap-")])
        self.assertEqual(self.views(), {})

    def test_one_whose_server_is_gone(self):
        daemon = self.daemon(self.make())
        view = self.ask("view", "open", self.socket, "one")
        daemon.kill()
        self.assertEqual(self.views(), {view["id"]: False})
        self.assertIn("gone", self.tool("view", "list"))
        self.tool("view", "close", view["id"])
        self.assertEqual(self.views(), {})

    def test_refusals(self):
        path = self.make()
        self.assertSaysAll(self.refusal("view", "open", path, "two"), "'two'", "'one'")
        self.assertSaysAll(self.refusal("view", "open", path, "one", "--clone", path), "there already")
        self.assertSaysAll(self.refusal("view", "open", path, "one", "--fuse", path), "there already")
        self.assertSaysAll(self.refusal("view", "close", "v77"), "v77", "view list")
        self.assertSaysAll(self.refusal("view", "open", path, "-9h"), "before the history", "'one'")
        self.assertSaysAll(self.refusal("view", "open", self.work / "no.pds", "one"), "no.pds")
        self.assertEqual(self.views(), {})
        image.check(path, "predsnap")  # nobody has it open
