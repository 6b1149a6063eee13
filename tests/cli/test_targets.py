# SPDX-License-Identifier: GPL-2.0-or-later
"""How a disk is named, and what is said when it cannot be worked on."""
import os
import signal
import subprocess
import time

from case import CliTest, program
from lib import paths


class Images(CliTest):
    def test_an_image_by_path(self):
        path = self.disk()
        self.assertEqual(self.ask("info", path)["size"], 64 << 20)
        self.assertEqual(self.ask("info", "--image", path)["size"], 64 << 20)
        self.assertIn("64 MiB", self.tool("info", "./disk.pds", cwd=str(self.work)))

    def test_one_that_is_not_there(self):
        self.assertSaysAll(self.refusal("info", self.work / "no.pds"), "no.pds", "No such file")

    def test_one_that_is_no_predsnap_image(self):
        path = self.work / "raw.img"
        path.write_bytes(bytes(1 << 20))
        self.assertSaysAll(self.refusal("info", path), "raw.img", "predsnap")

    def test_one_in_use_names_who_uses_it(self):
        path = self.disk()
        daemon = self.daemon(path)
        self.assertSaysAll(self.refusal("info", path), "disk.pds", "in use", f"(pid {daemon.pid})", "socket")

    def test_no_process_is_left(self):
        path = self.disk()
        self.tool("info", path)
        self.assertEqual(self.users(path), [])

    def test_none_is_left_after_a_signal_either(self):
        path = self.disk()
        for number in (signal.SIGINT, signal.SIGKILL):
            process = subprocess.Popen(
                [program(), "watch", path, "--json", "--interval", "100ms"], env=self.environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
            self.addCleanup(process.stdout.close)
            self.assertIn("sequence", process.stdout.readline())
            self.assertNotEqual(self.users(path), [])
            process.send_signal(number)
            process.wait(20)
            end = time.monotonic() + 20
            while self.users(path) and time.monotonic() < end:
                time.sleep(0.02)
            self.assertEqual(self.users(path), [], f"signal {number}")

    def users(self, path):
        """Processes that have the file open."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    if os.path.realpath(f"/proc/{pid}/fd/{fd}") == os.path.realpath(path):
                        found.append(pid)
            except OSError:
                pass
        return found

    def test_a_storage_daemon_that_knows_nothing_of_predsnap(self):
        stock = "/usr/bin/qemu-storage-daemon"
        if not os.path.exists(stock):
            self.skipTest(f"there is no {stock}")
        self.environment["PREDSNAP_QEMU_BIN"] = "/usr/bin"
        self.assertSaysAll(self.refusal("info", self.disk()), "does not know predsnap", "PREDSNAP_QEMU_BIN")


class Monitors(CliTest):
    def test_the_only_node_needs_no_name(self):
        self.daemon(self.disk())
        self.assertEqual(self.ask("info", self.socket)["node-name"], "disk0")
        self.assertEqual(self.ask("info", "--qmp", self.socket)["node-name"], "disk0")

    def test_of_several_one_must_be_named(self):
        self.daemon(self.disk("a.pds"), self.disk("b.pds"))
        self.assertSaysAll(self.refusal("info", self.socket), "several", "'disk0'", "'disk1'", "--node")
        self.assertEqual(self.ask("info", self.socket, "--node", "disk1")["node-name"], "disk1")
        self.assertSaysAll(self.refusal("info", self.socket, "--node", "disk2"), "'disk2'", "'disk0'")

    def test_one_without_predsnap_nodes(self):
        self.daemon()
        self.assertSaysAll(self.refusal("info", self.socket), self.socket, "no predsnap node")

    def test_a_socket_nobody_listens_at(self):
        daemon = self.daemon(self.disk())
        daemon.kill()
        self.assertSaysAll(self.refusal("info", self.socket), self.socket, "refused")


class Words(CliTest):
    def test_what_is_not_understood(self):
        for arguments in (("info",), ("info", "/a", "/b"), ("info", "--image", "a", "--qmp", "b"), ("info", "--nonsense", "/a"),
                          ("nonsense",), (), ("points", "/a", "--limit", "x"), ("snapshot", "make", "/a"), ("rollback", "/a"),
                          ("view", "open", "/a")):
            self.assertNotEqual(self.refusal(*arguments, status=2), "", arguments)

    def test_help_of_each_command(self):
        overview = self.tool("--help")
        commands = [line.split()[0] for line in overview.splitlines() if line.startswith("  ") and line[2].isalpha() and line[2].islower()]
        self.assertIn("rollback", commands)
        for command in commands:
            if command != "log":
                self.assertIn("--json", self.tool(command, "--help"), command)

    def test_a_domain_without_libvirt(self):
        (self.work / "disk.pds").write_bytes(b"")
        refusal = self.refusal("info", "disk.pds", "--connect", "qemu+unix:///system?socket=/nowhere", cwd=str(self.work))
        self.assertSaysAll(refusal, "libvirt", "./disk.pds")

    def test_unknown_domain_and_disk(self):
        self.assertSaysAll(self.refusal("info", "-c", "test:///default", "vm9"), "'vm9'", "'test'")
        self.assertSaysAll(self.refusal("info", "-c", "test:///default", "test:vdx"), "'vdx'", "'test'")
