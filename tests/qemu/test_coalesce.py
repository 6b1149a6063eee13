# SPDX-License-Identifier: GPL-2.0-or-later
"""History coalesced by a job: predsnap-coalesce, and the job's progress, pause and cancel."""
import json
import random

from case import MIB, content
from lib import image, process
from test_retention import BLOCK, RetentionCase


class Coalesce(RetentionCase):
    def job(self, **arguments):
        self.daemon_.qmp.execute("predsnap-coalesce", **{"job-id": "job", "node-name": "disk", **arguments})

    def jobs(self):
        return self.daemon_.qmp.execute("query-jobs")

    def wait_job(self):
        """Until it has ended, and is gone."""
        process.wait_until(lambda: not self.jobs(), "the end of the job")

    def snapshot(self, name):
        return self.daemon_.qmp.execute("predsnap-snapshot-create", **{"node-name": "disk", "name": name})

    def assertShows(self, snapshot, written):
        self.daemon_.add_view(f"view-{snapshot}", snapshot=snapshot)
        with self.daemon_.serve(f"view-{snapshot}", writable=False) as client:
            for at, data in written.items():
                self.assertEqual(client.read(at, BLOCK), data, f"{snapshot} at {at}")

    def test_history_up_to_a_time_is_dropped_but_for_snapshots(self):
        self.start()
        self.churn(6)
        self.snapshot("first")
        first = dict(self.written)
        self.churn(12)
        second = dict(self.written)
        time = self.snapshot("second")["time"]
        self.churn(6)
        before = self.daemon_.info()
        self.assertEqual(before["history"]["sequence"], 0)
        self.job(until=time)
        self.wait_job()
        after = self.daemon_.info()
        self.assertGreater(after["history"]["sequence"], 0)
        self.assertLess(after["segments"]["log"], before["segments"]["log"])
        self.assertShows("first", first)
        self.assertShows("second", second)
        self.assertHolds()

    def test_space_of_a_deleted_snapshot_comes_back(self):
        self.start(**{"cdp-window": 0})
        for name in ("a", "b", "c"):
            self.churn(4)
            self.snapshot(name)
        self.churn(8)
        self.job()
        self.wait_job()
        streams = self.daemon_.info()["history"]["streams"]
        self.assertGreaterEqual(streams, 3)
        self.daemon_.qmp.execute("predsnap-snapshot-delete", **{"node-name": "disk", "name": "b"})
        self.job()
        self.wait_job()
        self.assertLess(self.daemon_.info()["history"]["streams"], streams)
        self.assertHolds()
        self.daemon_.quit()
        self.check()

    def test_the_disk_is_put_in_order(self):
        self.start(**{"granularity": "sub-block"})
        blocks = list(range(0, 16 * MIB, 4096))
        random.Random(1).shuffle(blocks)
        for at in blocks:
            self.disk.write(at, content(f"x {at}", 4096))
        self.churn(4, span=2 * MIB)
        places = self.pieces()
        self.assertGreater(places, 2000)
        self.job(until=2**60)
        self.wait_job()
        self.assertLess(self.pieces(), 200)
        for at in range(2 * MIB, 16 * MIB, 4096):
            self.assertEqual(self.disk.read(at, 4096), content(f"x {at}", 4096), f"at {at}")
        self.assertHolds()
        self.daemon_.quit()
        self.check()

    def pieces(self):
        """Of the image that the disk's data lies in, as qemu-img map tells."""
        self.daemon_.quit()
        found = json.loads(image.qemu_img("map", "--output=json", "-f", "predsnap", self.path))
        self.daemon_, self.disk = self.daemon_with_disk(self.path)
        return sum("offset" in one for one in found)

    def test_it_is_paused_and_cancelled(self):
        self.start(size="256M")
        for at in range(0, 48 * MIB, BLOCK):
            self.disk.write(at, content(f"x {at}", BLOCK))
        self.snapshot("kept")
        self.churn(8)
        self.daemon_.qmp.execute("predsnap-coalesce", **{"job-id": "job", "node-name": "disk", "until": 2**60})
        self.daemon_.qmp.execute("job-pause", id="job")
        jobs = self.jobs()
        if jobs:
            self.assertEqual(jobs[0]["type"], "predsnap-coalesce")
            process.wait_until(
                lambda: not self.jobs() or self.jobs()[0]["status"] == "paused", "the job to pause"
            )
        if self.jobs():
            progress = self.jobs()[0]
            self.assertLessEqual(progress["current-progress"], progress["total-progress"])
            self.daemon_.qmp.execute("job-resume", id="job")
            if self.jobs():
                self.daemon_.qmp.execute("job-cancel", id="job")
        self.wait_job()
        self.assertHolds()
        self.job(until=2**60)
        self.wait_job()
        self.assertHolds()

    def test_what_cannot_be_is_refused(self):
        self.start()
        said = self.refusal(self.job, **{"node-name": "nobody"})
        self.assertSaysAll(said, "nobody")
