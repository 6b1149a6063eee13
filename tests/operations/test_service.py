# SPDX-License-Identifier: GPL-2.0-or-later
"""predsnapd as a service: what its manager is told, reload, stop, disks that come and go."""
import os
import signal
import subprocess
import time

from lib.process import wait_until
from operations_case import PREDSNAPD, Manager, OperationsTest


class Service(OperationsTest):
    def setUp(self):
        super().setUp()
        self.manager = Manager(self.work / "notify")
        self.addCleanup(self.manager.close)

    def start(self, *arguments, **environment):
        process = self.predsnapd(*arguments, environment={"NOTIFY_SOCKET": self.manager.path, **environment})
        wait_until(lambda: self.manager.has("READY=1"), "READY=1", process=process)
        return process

    def reload(self, process):
        self.manager.forget()
        os.kill(process.pid, signal.SIGHUP)
        wait_until(lambda: self.manager.has("READY=1"), "READY=1", process=process)

    def test_ready_watchdog_reload_stop(self):
        disk = self.disk()
        process = self.start("--config", self.config(disk.config()), WATCHDOG_USEC=900000)
        self.manager.forget()
        wait_until(lambda: self.manager.has("WATCHDOG=1") and self.manager.lines.count("WATCHDOG=1") >= 3, "the watchdog", 10,
                   process)
        self.reload(process)
        self.assertTrue(self.manager.has("RELOADING=1"))
        self.assertTrue(self.manager.has("MONOTONIC_USEC="))
        self.assertLess(self.manager.lines.index("RELOADING=1"), self.manager.lines.index("READY=1"))
        os.kill(process.pid, signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)
        self.assertTrue(self.manager.has("STOPPING=1"))
        self.assertFalse(self.metrics.exists())

    def test_a_reload_adds_and_removes_disks_and_keeps_what_is_known(self):
        first, second = self.disk("first"), self.disk("second")
        process = self.start("--config", self.config(first.config()))
        first.client.write(0, b"x" * 4096)
        first.client.flush()
        self.wait_for("predsnap_log_records_total", lambda n: n >= 1, disk="first")
        self.wait_for("predsnap_trainings_total", 1, disk="first")
        os.rename(first.log, self.work / "hidden")  # what is known now is not read anew
        self.config(first.config(weight=9), second.config(), tick=2)
        self.reload(process)
        self.wait_for("predsnap_up", 1, disk="second")
        self.assertGreaterEqual(self.metric("predsnap_log_records_total", disk="first"), 1)
        self.assertEqual(self.metric("predsnap_trainings_total", disk="first"), 1)
        self.assertIn("reloaded: 2 disks", process.log())
        self.config(second.config())
        self.reload(process)
        self.assertIsNone(self.metric("predsnap_up", disk="first"))
        self.assertEqual(self.metric("predsnapd_disks"), 1)
        self.assertEqual(self.metric("predsnapd_reloads_total"), 2)

    def test_a_configuration_that_is_wrong_changes_nothing(self):
        disk = self.disk()
        process = self.start("--config", self.config(disk.config()))
        self.config("[disk vm]\nlog=/nowhere\nnode=disk\n")
        self.reload(process)
        self.assertIn("not reloaded: disk 'vm': it needs a name, and a log", process.log())
        self.config("[disk vm]\ncolour=red\n")
        self.reload(process)
        self.assertIn("[disk vm]: 'colour' is none of name, log", process.log())
        self.wait_for("predsnap_up", 1, disk="vm")

    def test_a_stop_waits_for_nobody(self):
        disk = self.disk()
        process = self.start("--config", self.config(disk.config()))
        self.wait_for("predsnap_up", 1)
        disk.stop_answering()
        time.sleep(1.5)  # a question is on its way
        os.kill(process.pid, signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)

    def test_drop_in_files_come_and_go(self):
        folder = self.work / "disks.d"
        process = self.start("--config", self.config(**{"drop-ins": folder}))
        self.assertEqual(self.metric("predsnapd_disks"), 0)
        disk = self.disk()
        folder.mkdir()

        def put(name, text):
            (folder / f".{name}.new").write_text(text, encoding="utf-8")
            os.rename(folder / f".{name}.new", folder / name)

        put("vm.conf", disk.config())
        self.wait_for("predsnap_up", 1, disk="vm")
        put("vm.conf", "[disk vm]\nlog")  # nonsense for a moment: what was known holds
        self.wait_for("predsnapd_configuration_errors", 1)
        self.assertEqual(self.metric("predsnap_up", disk="vm"), 1)
        self.assertEqual(process.log().count("vm.conf"), 1, process.log())
        put("vm.conf", disk.config(weight=7))
        self.wait_for("predsnapd_configuration_errors", 0)
        put("README", "[nothing that is read]")
        (folder / "vm.conf").unlink()
        self.wait_for("predsnapd_disks", 0)
        self.assertIsNone(process.exit_status)

    def test_a_disk_behind_a_libvirt_that_is_not_watched_is_named(self):
        process = self.start("--config", self.config("[disk vm]\nlog=/nowhere\ndomain=vm1\nnode=disk\n"))
        self.assertIn("vm: it is reached through libvirt's monitor of domain 'vm1', but no libvirt is watched", process.log())
        self.assertEqual(self.metric("predsnap_disk_info", disk="vm", monitor="none"), 1)

    def test_configurations_are_checked(self):
        for text, said in (
            ("[disk a]\nlog=/l\n", None),
            ("[disk a]\nlog=/l\nqmp=/q\nnode=n\nweight=10\n", None),
            ("[disk a]\nlog=/l\ndomain=d\nnode=n\n", None),
            ("[disk a]\nqmp=/q\nnode=n\n", None),
            ("[disk a]\nweight=1\n", "it needs a name, and a log"),
            ("[disk a]\nlog=/l\nweight=11\n", "weight '11' is not from 0 to 10"),
            ("[disk ../a]\nlog=/l\n", "no slash"),
            ("[disk a]\nlog=/l\nqmp=/q\n", "node with qmp or domain"),
            ("[daemon]\ntick=often\n[disk a]\nlog=/l\n", "'often' is no whole number"),
            ("[daemon]\nhorizon=7\n[disk a]\nlog=/l\n", "horizon is 10, 60 or 600"),
            ("[deamon]\ntick=1\n", "[deamon] is neither"),
            ("[daemon]\ntick=1\n", "no disk is named"),
        ):
            path = self.work / "checked.conf"
            path.write_text(text, encoding="utf-8")
            done = subprocess.run([PREDSNAPD, "run", "--config", path, "--check"], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 2 if said else 0, done.stderr)
            self.assertIn(said or "", done.stderr)
