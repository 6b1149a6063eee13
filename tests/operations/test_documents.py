# SPDX-License-Identifier: GPL-2.0-or-later
"""What documents tell people to type is there: commands, their options, files, metrics, node options."""
import functools
import re
import subprocess
import unittest

from lib import paths
from operations_case import PREDSNAP, PREDSNAPD

TOP = paths.CHECKOUT
DOCUMENTS = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
MANUALS = ("operations.md", "tuning.md")


def read(path):
    return path.read_text(encoding="utf-8")


def code(text):
    """Indented blocks, fenced blocks, and what stands between backticks; comments of shells left out."""
    found = re.findall(r"^    (.+)$", text, re.MULTILINE)
    found += [line for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
    found += re.findall(r"`([^`\n]+)`", text)
    return [re.sub(r"\s#.*", "", line) for line in found]


@functools.cache
def help_of(*command):
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False, timeout=20)
    return done.stdout + done.stderr


def named(program):
    """(document, the words after the program's name) wherever it is called."""
    for document in DOCUMENTS:
        for line in code(read(document)):
            for call in re.findall(rf"(?:^|[|&;(] *|\$ ){program} ([^|&;]*)", line):
                yield document.name, call.split()


class Documents(unittest.TestCase):
    longMessage = True

    def check_options(self, where, command, words):
        known = set(re.findall(r"--?[a-zA-Z][a-z-]*", help_of(*command)))
        for word in words:
            if word.startswith("-") and not word.lstrip("-")[:1].isdigit():
                self.assertIn(word.split("=")[0], known, f"{where}: {' '.join([*map(str, command), *words])}")

    def test_commands_of_predsnap_and_their_options(self):
        known = set(re.findall(r"^  ([a-z]+) ", help_of(PREDSNAP), re.MULTILINE))
        self.assertIn("info", known)
        count = 0
        for where, words in named("predsnap"):
            if re.fullmatch(r"[a-z]+", words[0]):
                self.assertIn(words[0], known, f"{where}: predsnap {' '.join(words)}")
                self.check_options(where, (PREDSNAP, words[0]), words[1:])
                count += 1
        self.assertGreater(count, 20)

    def test_options_of_predsnapd(self):
        calls = [(where, words) for where, words in named("predsnapd") if words[0] in ("run", "evaluate")]
        self.assertGreater(len(calls), 2)
        for where, words in calls:
            self.check_options(where, (PREDSNAPD, words[0]), words[1:])

    def test_tools_and_files_of_the_tree(self):
        for document in DOCUMENTS:
            for line in code(read(document)):
                for path in re.findall(r"(?:^|[ (])((?:tools|tests|libvirt-hooks|qapi|docs|block)/[\w./-]*\w)", line):
                    there = TOP / path
                    self.assertTrue(there.exists() or list(there.parent.glob(there.name + ".*")), f"{document.name}: {path}")

    def test_links(self):
        for document in DOCUMENTS:
            text = read(document)
            for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", text):
                if target and "://" not in target:
                    self.assertTrue((document.parent / target).exists(), f"{document.name}: {target}")
            for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", text):
                other = read(document.parent / target) if target else text
                anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
                           for title in re.findall(r"^#+ (.*)", other, re.MULTILINE)}
                self.assertIn(anchor, anchors, f"{document.name}: {target}#{anchor}")

    def test_node_options_that_tuning_names(self):
        schema = read(TOP / "qapi/predsnap.json")
        options = schema.split("'struct': 'PredsnapOptions'")[1].split("}")[0] + schema.split("'struct': 'PredsnapCreateOptions'")[1].split("}")[0]
        known = set(re.findall(r"'\*?([a-z-]+)':", options)) - {"data"} | {"capacity", "tick", "train-every", "horizon"}
        told = set()
        for row in re.findall(r"^\| (`.*?) \|", read(TOP / "docs/tuning.md"), re.MULTILINE):
            told |= {name.split("=")[0] for name in re.findall(r"`([^`]+)`", row)}
        self.assertLessEqual(told, known)
        self.assertLessEqual(known - {"size", "backing-file"}, told, "options that tuning.md leaves out")

    def test_metrics_and_alerts_that_operations_names(self):
        text = read(TOP / "docs/operations.md")
        served = read(TOP / "tools/predsnapd/exposition.cc")
        for name in re.findall(r"`(predsnapd?_[a-z_]+)(?:\*?`|\{)", text):
            self.assertIn(f'"{name}', served, name)
        alerts = set(re.findall(r"- alert: (\w+)", read(TOP / "tools/services/predsnap.rules.yml")))
        told = {name for row in re.findall(r"^\| (Predsnap[^|]*) \|", text, re.MULTILINE) for name in row.split(", ")}
        self.assertEqual(alerts, told)
