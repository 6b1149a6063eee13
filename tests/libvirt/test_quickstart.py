# SPDX-License-Identifier: GPL-2.0-or-later
"""The story that tools/quickstart --libvirt tells, from its beginning to its end."""
import subprocess
import unittest

from lib import paths


class TestQuickstart(unittest.TestCase):
    def test_story(self):
        done = subprocess.run([paths.CHECKOUT / "tools/quickstart", "--libvirt"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for said in ("The rate of change jumps at", "file-7 is what it was", "Everything is back."):
            self.assertIn(said, done.stdout)
