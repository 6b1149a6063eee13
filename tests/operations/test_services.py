# SPDX-License-Identifier: GPL-2.0-or-later
"""Units, rules of AppArmor, scripts and configuration files, read by the programs that they are for."""
import re
import subprocess
import unittest

from lib import paths
from lib.process import run
from lib.workdir import WorkDir
from operations_case import PREDSNAPD, SERVICES

TOP = paths.CHECKOUT
EXPOSURE_MAX = 25  # tenths: systemd-analyze's scale goes from 0 to 100, what it calls OK from 20 to 50


class Services(unittest.TestCase):
    def setUp(self):
        self.work = WorkDir("services")
        self.addCleanup(self.work.close)

    def unit(self):
        """The unit as it would be installed, but with the program that was built."""
        text = (SERVICES / "predsnapd.service.in").read_text(encoding="utf-8")
        program = self.work / "predsnapd"
        program.symlink_to(PREDSNAPD)
        path = self.work / "predsnapd.service"
        path.write_text(text.replace("@SBINDIR@", str(self.work)).replace("@SYSCONFDIR@", "/etc"), encoding="utf-8")
        return path

    def test_the_unit_is_one(self):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", self.unit()], capture_output=True,
                              text=True, check=False)
        said = [line for line in done.stderr.splitlines() if "predsnapd" in line]
        self.assertEqual((done.returncode, said), (0, []))

    def test_the_unit_is_sandboxed(self):
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", self.unit()],
                              capture_output=True, text=True, check=False)
        last = [line for line in done.stdout.splitlines() if "Overall exposure" in line]
        self.assertEqual(done.returncode, 0, last or done.stderr)

    def test_tmpfiles(self):
        # As another machine: systemd-tmpfiles makes them below a root.
        root = self.work / "root"
        (root / "usr/lib/tmpfiles.d").mkdir(parents=True)
        (root / "etc").mkdir()
        (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n", encoding="ascii")
        (root / "etc/group").write_text("root:x:0:\n", encoding="ascii")
        (root / "usr/lib/tmpfiles.d/predsnap.conf").write_bytes((SERVICES / "predsnap.tmpfiles").read_bytes())
        run(["systemd-tmpfiles", f"--root={root}", "--create", "predsnap.conf"])
        for folder in ("run/predsnap/disks.d", "var/log/predsnap"):
            self.assertEqual((root / folder).stat().st_mode & 0o777, 0o755)

    def test_logrotate_takes_its_file(self):
        conf = self.work / "logrotate"
        conf.write_bytes((SERVICES / "predsnap.logrotate").read_bytes())
        conf.chmod(0o644)
        done = subprocess.run(["/usr/sbin/logrotate", "--debug", "--state", self.work / "state", conf], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("error", done.stderr)
        self.assertIn("-daemon.log", done.stderr)

    def test_apparmor_rules(self):
        for name in ("predsnap-qemu", "predsnap-libvirtd"):
            rules = (SERVICES / f"{name}.apparmor").read_text(encoding="utf-8")
            profile = self.work / name
            profile.write_text(f"profile test-{name} /nothing {{\n{rules}}}\n", encoding="utf-8")
            run(["apparmor_parser", "--skip-kernel-load", "--skip-cache", profile])

    def test_the_configuration_of_the_package(self):
        conf = (SERVICES / "predsnapd.conf").read_text(encoding="utf-8")
        self.check(conf)
        # And with all that is only shown: each key is one that there is.
        shown = re.sub(r"^#([a-z-]+=|\[disk)", r"\1", conf, flags=re.MULTILINE)
        self.assertEqual(len(re.findall(r"^[a-z-]+=", shown, re.MULTILINE)), 13)
        # Of a key that is there twice the last counts.
        self.check(shown)

    def check(self, text):
        path = self.work / "predsnapd.conf"
        path.write_text(text, encoding="utf-8")
        run([PREDSNAPD, "run", "--config", path, "--check"])


class Pages(unittest.TestCase):
    def test_manual_pages_have_no_faults(self):
        pages = sorted((TOP / "docs/man").glob("*.[1-8]"))
        self.assertTrue(pages)
        for page in pages:
            done = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False)
            # Which other pages are installed here is no fault of the page's.
            said = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
            self.assertEqual(said, [])

    def test_predsnapd_8_has_all_options(self):
        page = (TOP / "docs/man/predsnapd.8").read_text(encoding="utf-8")
        told = set(re.findall(r"^\.It Fl -([a-z-]+)", page, re.MULTILINE))
        said = run([PREDSNAPD, "run", "--help"])
        self.assertEqual(told, set(re.findall(r"^  .*?--([a-z-]+)", said, re.MULTILINE)) - {"help"})
