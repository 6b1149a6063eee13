# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays one trace on one disk, and measures what that takes."""
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import daemon, replay_disks, usage
from .replay_client import ReplayClient
from .settings import BenchError

POINTS_VERIFIED = 3
POINTS_MAX = 20_000
NOW = "now"


@dataclass(frozen=True)
class ReplaySettings:
    """The same for every disk of a trace."""

    build: Path
    points_s: float
    client_options: tuple = ()
    node_options: dict = field(default_factory=dict)
    quiet_s: float = 3.0  # nothing has changed for so long: background work has ended
    quiet_max_s: float = 600.0
    verify: bool = True


def percentile(values, share):
    return sorted(values)[int(share * (len(values) - 1))]


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


class Replay:
    """One trace on one disk; run() gives everything measured."""

    def __init__(self, work, trace, described, kind, settings):
        self.work, self.trace, self.settings = work, trace, settings
        self.span_s = described["span_us"] / 1e6
        self.points = self._points()
        self.disk = replay_disks.KINDS[kind](work, described["disk_size"], settings.node_options)
        step = max(1, len(self.points) // POINTS_VERIFIED)
        self.sampled = [name for name, _ in self.points[step // 2 :: step]][:POINTS_VERIFIED]
        self.point_ms = []

    def _points(self):
        """Name and time of each point; the last one is where the trace ends."""
        if not self.settings.points_s:
            return []
        count = int(self.span_s // self.settings.points_s) + 1
        if count > POINTS_MAX:
            raise BenchError(f"{self.trace}: {count} points, and {POINTS_MAX} at most: take a larger --points")
        return [(f"p{i}", i * self.settings.points_s) for i in range(1, count + 1)]

    def run(self):
        begin_s = time.monotonic()
        log = self.work / "client.log"
        uri = f"nbd+unix:///{daemon.NODE}?socket={self.work / 'nbd.socket'}"
        with daemon.exported(self.work, self.disk.node()) as backend:
            client = ReplayClient(self.settings.build, self.trace, uri, self.settings.client_options, log)
            with client:
                result = self._measure(backend, client)
                backend.quit()
                result["space"]["closed"] = usage.allocated(self.disk.files())
                if self.settings.verify:
                    result["verified"] = self._verify(client)
        result["seconds"] = time.monotonic() - begin_s
        self.disk.remove()
        return result

    def _measure(self, backend, client):
        written_before = usage.written_by(backend.pid)
        sizes = usage.Sizes(self.disk.files)
        sizes.start()
        try:
            begin_s = time.monotonic()
            self._replay(backend, client)
            replay_s = time.monotonic() - begin_s
            at_end = self._state(backend, written_before)
            quiet_s = self._wait_until_quiet(backend)
            at_quiet = self._state(backend, written_before)
        finally:
            samples = sizes.end()
        return {
            "points": len(self.points),
            "replay seconds": replay_s,
            "quiet after seconds": quiet_s,
            "space": {
                "end": at_end["space"],
                "quiet": at_quiet["space"],
                "peak": max(*samples, at_end["space"], at_quiet["space"]),
            },
            "written": {"end": at_end["written"], "quiet": at_quiet["written"]},
            "counters": {"end": at_end["counters"], "quiet": at_quiet["counters"]},
            "client": client.measures(),
            "point ms": {
                name: percentile(self.point_ms, share)
                for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
                if self.point_ms
            },
        }

    def _replay(self, backend, client):
        ended = not self.points and client.run(self.span_s + 1)
        for name, until_s in self.points:
            progress(f"{self.trace.name} on {self.disk.label}: point {name} of {len(self.points)}")
            ended = client.run(until_s)
            begin_s = time.monotonic()
            self.disk.point(backend, name)
            self.point_ms.append((time.monotonic() - begin_s) * 1e3)
            if name in self.sampled:
                client.keep(name)
        if not ended:
            raise BenchError(f"{self.trace}: requests are left after what was said to be its end")
        progress("")

    def _state(self, backend, written_before):
        return {
            "space": usage.allocated(self.disk.files()),
            "written": usage.written_by(backend.pid) - written_before,
            "counters": self.disk.counters(backend),
        }

    def _wait_until_quiet(self, backend):
        """Until neither space nor counters have changed for a while; how long it took to come to that."""
        begin_s = changed_s = time.monotonic()
        last = None
        while time.monotonic() - changed_s < self.settings.quiet_s:
            now = self._state(backend, 0)
            if now != last:
                changed_s, last = time.monotonic(), now
            if changed_s - begin_s > self.settings.quiet_max_s:
                raise BenchError(
                    f"{self.disk.label}: background work goes on {self.settings.quiet_max_s:.0f} s "
                    f"after the end of {self.trace}"
                )
            time.sleep(0.2)
        return changed_s - begin_s

    def _verify(self, client):
        """Reads the disk and some of its points back from the files alone."""
        progress(f"{self.trace.name} on {self.disk.label}: verifying")
        self.disk.check()
        verified = {}
        for state in (None, *self.sampled):
            if state and isinstance(self.disk, replay_disks.Raw):
                continue
            with self.disk.served(state) as uri:
                verified[state or NOW] = client.verify(state or NOW, uri)
        progress("")
        return verified
