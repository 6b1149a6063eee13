# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace on the engine alone, whose clock follows the trace: what history by time takes, in seconds."""
import json
import time

from lib.process import run

from .replay_client import program
from .settings import BenchError

LABEL = "engine"
# Options of a predsnap node that the engine knows by itself.
KNOWN = {"cdp-window": "--window", "cdp-bytes": "--bytes", "pack-after": "--pack-after"}
RULES = "retention"


def node_arguments(node_options):
    unknown = sorted(set(node_options) - {*KNOWN, RULES})
    if unknown:
        known = ", ".join((*KNOWN, RULES))
        raise BenchError(f"the disk '{LABEL}' takes of --option only {known}, not {unknown[0]}")
    options = {"cdp-window": 0, **node_options}
    rules = [f"{rule['every']}:{rule['for']}" for rule in options.pop(RULES, ())]
    plain = [str(x) for key, value in options.items() for x in (KNOWN[key], value)]
    return plain + [x for rule in rules for x in ("--rule", rule)]


class EngineReplay:
    """One trace; run() gives what replay_run.Replay's does, without what only real time has."""

    def __init__(self, work, trace, source_options, settings, depth, flush_every_s):
        self.settings = settings
        self.command = [
            *(program(settings.build, "replay-engine"), trace, "--image", work / "engine.img"),
            *("--points", settings.points_s, "--depth", depth, "--flush-every", flush_every_s),
            *node_arguments(settings.node_options),
            *source_options,
        ]

    def run(self):
        begin_s = time.monotonic()
        result = json.loads(run(self.command))
        result["seconds"] = time.monotonic() - begin_s
        return result
