# SPDX-License-Identifier: GPL-2.0-or-later
"""What predsnapd serves to Prometheus."""
import socket
import subprocess

from lib.process import wait_until
from operations_case import KIB, MIB, PREDSNAPD, OperationsTest


class Metrics(OperationsTest):
    def test_what_a_disk_says_is_served_as_promtool_wants_it(self):
        disk = self.disk(**{"cdp-window": 3600})
        self.predsnapd("--config", self.config(disk.config()))
        self.wait_for("predsnap_up", 1, disk="vm")
        self.wait_for("predsnap_points_seen_total", 0, disk="vm")
        for i in range(20):
            disk.client.write(i * 64 * KIB, b"x" * 4096)
            disk.client.flush()
        disk.daemon.qmp.execute("predsnap-snapshot-create", node_name="disk", name="s")
        self.wait_for("predsnap_points_seen_total", lambda n: n >= 20, disk="vm")
        self.wait_for("predsnap_log_records_total", lambda n: n >= 20, disk="vm")
        self.wait_for("predsnap_trainings_total", 1, disk="vm")
        info, = disk.daemon.qmp.execute("query-predsnap")
        self.assertEqual(self.metric("predsnap_changed_bytes_total", disk="vm"), 20 * 4096)
        self.assertEqual(self.metric("predsnap_changed_chunks_total", disk="vm"), 20)
        self.assertEqual(self.metric("predsnap_snapshots", disk="vm"), 1)
        self.assertEqual(self.metric("predsnap_history_window_seconds", disk="vm"), 3600)
        self.assertEqual(self.metric("predsnap_disk_size_bytes", disk="vm"), 64 * MIB)
        self.assertEqual(self.metric("predsnap_threshold_ratio", disk="vm"), info["threshold"]["value"])
        self.assertAlmostEqual(self.metric("predsnap_history_depth_seconds", disk="vm"),
                               (info["newest-point"] - info["oldest-point"]) / 1e6, delta=3)
        self.assertEqual(self.metric("predsnap_tier_full", disk="vm", tier="fast"), 0)
        self.assertEqual(self.metric("predsnap_tier_used_bytes", disk="vm", tier="fast"), info["tiers"][0]["used"])
        self.assertEqual(self.metric("predsnap_disk_info", disk="vm", node="disk", monitor="socket", uuid=info["uuid"]), 1)
        self.assertEqual(self.metric("predsnapd_disks"), 1)
        self.assertGreater(self.metric("predsnapd_resident_memory_bytes"), MIB)
        checked = subprocess.run(["promtool", "check", "metrics"], input=self.page()[1], capture_output=True, text=True,
                                 check=False)
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_a_qemu_that_does_not_answer_holds_up_neither_the_page_nor_other_disks(self):
        dead, live = self.disk("dead"), self.disk("live")
        self.predsnapd("--config", self.config(dead.config(), live.config()))
        self.wait_for("predsnap_up", 1, disk="dead")
        self.wait_for("predsnap_up", 1, disk="live")
        dead.stop_answering()
        self.wait_for("predsnap_up", 0, disk="dead")
        self.wait_for("predsnap_status_age_seconds", lambda age: age > 4, disk="dead")
        self.wait_for("predsnap_status_age_seconds", lambda age: age < 4, disk="live")
        self.wait_for("predsnapd_tick_age_seconds", lambda age: age < 3)
        self.assertEqual(self.metric("predsnap_disk_size_bytes", disk="dead"), 64 * MIB)  # as it was said last

    def test_a_qemu_that_comes_back_is_found_again(self):
        disk = self.disk()
        self.predsnapd("--config", self.config(disk.config()))
        self.wait_for("predsnap_up", 1)
        disk.close()
        self.wait_for("predsnap_up", 0)
        self.disk()
        self.wait_for("predsnap_up", 1)

    def test_the_page_alone_is_served(self):
        disk = self.disk()
        process = self.predsnapd("--config", self.config(disk.config()))
        self.assertEqual(self.page("/")[0], 404)
        self.assertEqual(self.page("/metrics/other")[0], 404)
        self.assertEqual(self.page(method="POST")[0], 405)
        self.assertEqual(self.page(method="HEAD"), (200, ""))
        mode = self.metrics.stat().st_mode & 0o777
        self.assertEqual(mode & 0o007, 0, "others may connect")
        other = subprocess.run([PREDSNAPD, "run", "--config", self.work / "predsnapd.conf"], capture_output=True,
                               text=True, check=False, timeout=60)
        self.assertEqual(other.returncode, 1)
        self.assertIn("served by another program", other.stderr)
        process.kill()
        self.assertTrue(self.metrics.exists(), "nobody could remove it")
        self.predsnapd("--config", self.work / "predsnapd.conf", wait=False)
        self.wait_until_served()

    def wait_until_served(self):
        def served():
            try:
                return self.page()[0] == 200
            except OSError:
                return False
        wait_until(served, "the page")

    def test_loopback_and_nothing_else(self):
        disk = self.disk()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.predsnapd("--config", self.config(disk.config(), metrics=f"127.0.0.1:{port}"), wait=False)
        def scraped():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as page:
                    page.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                    return b"predsnapd_disks 1" in page.makefile("rb").read()
            except OSError:
                return False
        wait_until(scraped, "the page")
        for address in ("0.0.0.0:9000", "192.168.1.1:9000", "[::]:9000", "127.0.0.1", "nonsense"):
            done = subprocess.run([PREDSNAPD, "run", "--config", self.config(disk.config(), metrics=address)],
                                  capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual(done.returncode, 1, address)
            self.assertIn(f"metrics address '{address}'", done.stderr)
