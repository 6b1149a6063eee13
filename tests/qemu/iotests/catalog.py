# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of QEMU's iotests there are, what formats they say they are for, and which of them are run for predsnap."""
import re
from dataclasses import dataclass
from pathlib import Path

FORMAT = "predsnap"

BASH_FORMATS = re.compile(r"^\s*_supported_fmt\s+([^#\n]*)", re.M)
PYTHON_FORMATS = re.compile(r"\bsupported_fmts\s*=\s*[\[(]([^\])]*)[\])]")
QUOTED = re.compile(r"""["']([\w-]+)["']""")
LIST_LINE = re.compile(r"(?P<name>[\w-]+)(?P<maybe>\?)?\s+(?P<reason>\S.*)")


class CatalogError(Exception):
    """A list of ours does not fit QEMU's tests."""


@dataclass(frozen=True)
class Iotest:
    name: str
    formats: tuple  # what the test says; empty: any

    def runs_for(self, image_format):
        """Whether the test itself would run; the patch lets qed stand for predsnap."""
        stands_for = {image_format, "generic"} | ({"qed"} if image_format == FORMAT else set())
        return not self.formats or not stands_for.isdisjoint(self.formats)

    @property
    def may_apply(self):
        """Not a test of one other format's own features; those of qcow2 are near enough to look at each."""
        return self.runs_for(FORMAT) or len(self.formats) > 1 or self.formats == ("qcow2",)


@dataclass(frozen=True)
class Exclusion:
    reason: str
    maybe: bool  # the test is run, and may find that this machine lacks what it needs


def declared_formats(text):
    found = BASH_FORMATS.search(text)
    if found:
        return tuple(found[1].split())
    found = PYTHON_FORMATS.search(text)
    return tuple(QUOTED.findall(found[1])) if found else ()


def read_tests(folder):
    """All tests in a tests/qemu-iotests folder, by name."""
    numbered = [p for p in Path(folder).iterdir() if re.fullmatch(r"\d{3}", p.name)]
    named = [p for p in Path(folder, "tests").iterdir() if Path(f"{p}.out").is_file()]
    tests = [
        Iotest(p.name, declared_formats(p.read_text(encoding="utf-8"))) for p in numbered + named
    ]
    return {test.name: test for test in sorted(tests, key=lambda test: test.name)}


def lines_of(path):
    """The lines of a list, without comments."""
    lines = (
        line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()
    )
    return [line for line in lines if line]


def read_excluded(path):
    """The list of tests that are not run, or `NAME?`: that may say they cannot run here."""
    excluded = {}
    for line in lines_of(path):
        entry = LIST_LINE.fullmatch(line)
        if not entry or entry["name"] in excluded:
            raise CatalogError(f"{path}: '{line}' is not a new test's name and a reason")
        excluded[entry["name"]] = Exclusion(entry["reason"], bool(entry["maybe"]))
    return excluded


def complaints(tests, excluded, slow):
    """What is wrong with the lists: a test that may apply is run or excluded, and no entry is stale."""
    for name in excluded:
        if name not in tests:
            yield f"excluded: QEMU has no iotest '{name}'"
    for name in slow:
        if name not in tests or (name in excluded and not excluded[name].maybe):
            yield f"slow: '{name}' is not an iotest that is run"
    for test in tests.values():
        if test.may_apply and not test.runs_for(FORMAT) and test.name not in excluded:
            yield (
                f"{test.name} is for {', '.join(test.formats)}: let the patch of the iotests add predsnap, "
                "or name it in excluded"
            )


def selection(tests, excluded):
    """The tests that are run for predsnap."""
    return [
        test
        for test in tests.values()
        if test.runs_for(FORMAT) and (test.name not in excluded or excluded[test.name].maybe)
    ]
