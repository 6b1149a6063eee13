# SPDX-License-Identifier: GPL-2.0-or-later
"""Views: over NBD, as a file, as a writable clone; of an image and of an open disk."""
import os
import signal
import subprocess
import time

from case import CliTest, program
from lib import image, process
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

    def kill_daemon(self, view):
        """The view's own."""
        os.kill(int((self.work / "run" / f"{view['id']}.pid").read_text(encoding="ascii")), signal.SIGKILL)

    def test_as_a_file_whose_daemon_was_killed(self):
        """A mount is left that answers nothing: closing takes it away, and another view can have the name."""
        path, file = self.make(), self.work / "then.raw"
        view = self.ask("view", "open", path, "one", "--fuse", file)
        self.kill_daemon(view)
        process.wait_until(lambda: not self.views()[view["id"]], "the view to be seen as gone")
        with self.assertRaises(OSError):
            os.stat(file)
        self.tool("view", "close", view["id"])
        self.assertFalse(os.path.lexists(file))
        self.assertEqual(os.listdir(self.work / "run"), [])
        self.tool("view", "open", path, "one", "--fuse", file)

    def command_line(self, pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return b""

    def test_one_whose_daemon_does_not_answer(self):
        view = self.ask("view", "open", self.make(), "one")
        pid = int((self.work / "run" / f"{view['id']}.pid").read_text(encoding="ascii"))
        os.kill(pid, signal.SIGSTOP)
        self.tool("view", "close", view["id"])
        self.assertEqual(self.command_line(pid), b"")  # gone, or nobody's yet, but ended

    def test_opening_killed_at_any_moment(self):
        """Whatever is there by then is in the list, and is closed."""
        path, file = self.make(), self.work / "then.raw"
        begin = time.monotonic()
        self.tool("view", "open", path, "one", "--fuse", file)
        self.tool("view", "close", "--all")
        took_s = time.monotonic() - begin
        for step in range(12):
            opening = subprocess.Popen([program(), "view", "open", path, "one", "--fuse", file], env=self.environment,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(took_s * step / 12)
            opening.kill()
            opening.wait()
            self.tool("view", "close", "--all")
            self.assertFalse(os.path.lexists(file), f"step {step}")
            # A draft is left where not even the record was there yet; the next view of that number takes it away.
            left = [name for name in os.listdir(self.work / "run") if not name.startswith("v1.json.")]
            self.assertEqual(left, [])
        self.tool("view", "open", path, "one")
        self.tool("view", "close", "v1")
        self.assertEqual(os.listdir(self.work / "run"), [])
        image.check(path, "predsnap")  # nobody has it open

    def test_a_file_that_came_meanwhile_stays(self):
        """What closing removes is what opening made, which is empty."""
        path, file = self.make(), self.work / "then.raw"
        view = self.ask("view", "open", path, "one", "--fuse", file)
        self.kill_daemon(view)
        process.wait_until(lambda: not self.views()[view["id"]], "the view to be seen as gone")
        subprocess.run(["umount", "-l", file], check=True)
        file.write_bytes(b"precious")
        self.tool("view", "close", view["id"])
        self.assertEqual(file.read_bytes(), b"precious")

    def test_refusals(self):
        path = self.make()
        self.assertSaysAll(self.refusal("view", "open", path, "two"), "'two'", "'one'")
        self.assertSaysAll(self.refusal("view", "open", path, "one", "--clone", path), "there already")
        self.assertSaysAll(self.refusal("view", "open", path, "one", "--fuse", path), "there already")
        daemon = self.daemon(self.disk("other.pds"))
        daemon.qmp.execute("nbd-server-start", addr={"type": "unix", "data": {"path": str(self.work / "other.nbd")}})
        self.assertSaysAll(self.refusal("view", "open", path, "one", "--socket", self.work / "other.nbd"), "other.nbd", "--socket")
        self.assertTrue((self.work / "other.nbd").exists())
        self.assertSaysAll(self.refusal("view", "close", "v77"), "v77", "view list")
        self.assertSaysAll(self.refusal("view", "open", path, "-9h"), "before the history", "'one'")
        self.assertSaysAll(self.refusal("view", "open", self.work / "no.pds", "one"), "no.pds")
        self.assertEqual(self.views(), {})
        image.check(path, "predsnap")  # nobody has it open
