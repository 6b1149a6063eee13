# SPDX-License-Identifier: GPL-2.0-or-later
"""A line of the benchmark's table."""


class Row:
    """Selected by `key`. run(bench) gives its Results, one or several."""

    key = ""
    title = ""

    def space(self, settings):
        """The most it has on disk at once, in bytes."""
        raise NotImplementedError

    def memory(self, settings):  # pylint: disable=unused-argument
        """The most it has in memory, in bytes."""
        return 0

    def run(self, bench):
        raise NotImplementedError
