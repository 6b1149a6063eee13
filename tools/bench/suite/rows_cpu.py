# SPDX-License-Identifier: GPL-2.0-or-later
"""The CPU that a write costs, without a device's: QEMU on an image in memory, the engine on nothing."""
import tempfile
from pathlib import Path

from lib import image

from . import img_bench
from .peers import file_node
from .result import Figure, Goal, Measure, Result
from .row import Row
from .rows_engine import engine_bench
from .settings import BLOCK

MEMORY_FOLDER = "/dev/shm"
NULL = "null-co"
PREDSNAP = "predsnap in memory"
NOTE = (
    "User time of all threads, of qemu-img bench. That of writing the image to the tmpfs is in predsnap's; "
    "the kernel's time is in none. Without preallocation the log is also made ready in the background."
)
FEW, MANY = 1, 4  # how often the settings' requests, to leave out what a process costs by itself


class CpuRow(Row):
    """null-co answers at once, but cannot hold an image. So the image is in a tmpfs, and what the process
    uses in user mode is compared: the copy into the tmpfs is the kernel's."""

    key = "cpu"
    title = "CPU per 4 KiB random write, depth 32"

    def space(self, settings):
        return 0

    def memory(self, settings):
        return settings.size + MANY * settings.cpu_writes * BLOCK * 3 // 2

    def run(self, bench):
        kinds = {
            NULL: self._null,
            "raw in memory": self._raw,
            PREDSNAP: self._predsnap,
            f"{PREDSNAP}, not preallocated": self._predsnap_growing,
        }
        values = {label: [] for label in kinds}
        engine = []
        for number in range(bench.settings.engine_rounds):
            for label, make_node in kinds.items():
                bench.progress(f"round {number + 1}: {label}")
                values[label].append(self._user_us(bench.settings, make_node))
            engine.append(self._engine_us(bench, 32))
        over = [p - n for p, n in zip(values[PREDSNAP], values[NULL])]
        measures = [Measure(label, values[label], "µs") for label in kinds]
        measures += [
            Measure("engine alone on nothing", engine, "µs"),
            Measure(f"{PREDSNAP}, less null-co", over, "µs"),
        ]
        goal = Goal(1.5, at_least=False)
        figure = Figure(self.key, "driver CPU per 4 KiB write", measures[-1].median, "µs", goal)
        return [Result(self.key, self.title, measures, [figure], [NOTE])]

    @staticmethod
    def _engine_us(bench, depth):
        return engine_bench(bench.build, "cpu", MANY * bench.settings.cpu_writes, depth)["user_us"]

    @staticmethod
    def _user_us(settings, make_node):
        """Of one request: what more requests add."""
        with tempfile.TemporaryDirectory(prefix="predsnap-bench-", dir=MEMORY_FOLDER) as folder:
            few, many = (times * settings.cpu_writes for times in (FEW, MANY))
            used = []
            for count in (few, many):
                node = make_node(Path(folder), settings)
                used.append(img_bench.run(node, img_bench.RANDOM_WRITE, count).user_s)
            return (used[1] - used[0]) * 1e6 / (many - few)

    @staticmethod
    def _null(_folder, settings):
        return {"driver": "null-co", "size": settings.size}

    @staticmethod
    def _raw(folder, settings):
        return CpuRow._in_memory("raw", folder, settings, "full")

    @staticmethod
    def _predsnap(folder, settings):
        return CpuRow._in_memory("predsnap", folder, settings, "full")

    @staticmethod
    def _predsnap_growing(folder, settings):
        return CpuRow._in_memory("predsnap", folder, settings, "off")

    @staticmethod
    def _in_memory(driver, folder, settings, preallocation):
        path = folder / "disk"
        path.unlink(missing_ok=True)
        image.create(path, driver, settings.size, "-o", f"preallocation={preallocation}")
        return {"driver": driver, "file": file_node(path, direct=False)}


def rows():
    return [CpuRow()]
