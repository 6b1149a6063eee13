# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages and the shell's completion: they must be sound, and say what the program does."""
import re
import shutil
import subprocess

from case import CliTest, program
from lib import paths

COMPLETION = paths.CHECKOUT / "tools/predsnap/completion/predsnap"
MANUALS = sorted((paths.CHECKOUT / "docs/man").glob("*.[1-8]"))


class Manuals(CliTest):
    def commands(self):
        return re.findall(r"^  ([a-z]+)  +[a-z]", self.tool("--help"), re.MULTILINE)

    def options(self, command):
        return set(re.findall(r"(--[a-z-]+)", "\n".join(re.findall(r"^  (?:-., )?(--[a-z-]+)", self.tool(command, "--help"), re.MULTILINE))))

    def test_they_are_sound(self):
        self.assertGreaterEqual(len(MANUALS), 2)
        done = subprocess.run(["mandoc", "-T", "lint", *MANUALS], capture_output=True, text=True, check=False)
        wrong = [line for line in done.stdout.splitlines() if "mandoc.db" not in line and "referenced manual not found" not in line]  # what is installed does not matter
        self.assertEqual(wrong, [])

    def test_every_command_and_option_is_in_the_manual(self):
        done = subprocess.run(["mandoc", "-T", "ascii", paths.CHECKOUT / "docs/man/predsnap.1"], capture_output=True, text=True, check=True)
        text = re.sub(".\b", "", done.stdout)
        for command in self.commands():
            self.assertRegex(text, rf"\b{command}\b")
            if command in ("log", "protect", "unprotect"):
                continue  # they have pages of their own, or say it all themselves
            for option in self.options(command) - {"--help", "--domain", "--disk", "--min", "--max", "--target-hit-rate", "--horizon", "--span",
                                                   "--interval", "--limit"}:
                self.assertIn(option, text, command)


class Completion(CliTest):
    def complete(self, line):
        script = f"source {COMPLETION}; COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; _predsnap; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        folder = self.work / "bin"
        folder.mkdir(exist_ok=True)
        link = folder / "predsnap"
        if not link.exists():
            link.symlink_to(program())
        environment = {**self.environment, "PATH": f"{folder}:{self.environment['PATH']}"}
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
        self.assertEqual(done.stderr, "")
        return done.stdout.split("\n")[:-1]

    def test_the_script_is_sound(self):
        if not shutil.which("shellcheck"):
            self.fail("shellcheck is missing: run tools/setup")
        subprocess.run(["shellcheck", "-s", "bash", COMPLETION], check=True)

    def test_commands(self):
        self.assertIn("rollback", self.complete("predsnap "))
        self.assertEqual(self.complete("predsnap roll"), ["rollback"])

    def test_options(self):
        self.assertEqual(self.complete("predsnap points --aro"), ["--around"])
        self.assertIn("--json", self.complete("predsnap info --"))

    def test_what_to_do_with_snapshots_and_views(self):
        self.assertEqual(self.complete("predsnap snapshot cr"), ["create"])
        self.assertEqual(self.complete("predsnap view cl"), ["close"])

    def test_files_snapshots_and_views(self):
        path = self.disk()
        self.assertEqual(self.complete(f"predsnap info {self.work}/disk"), [str(path)])
        for name in ("before-upgrade", "other"):
            self.tool("snapshot", "create", path, name)
        self.assertEqual(self.complete(f"predsnap rollback {path} --to bef"), ["before-upgrade"])
        self.assertEqual(self.complete(f"predsnap diff {path} o"), ["other"])
        view = self.ask("view", "open", path, "other")
        self.assertEqual(self.complete("predsnap view close v"), [view["id"]])
