# SPDX-License-Identifier: GPL-2.0-or-later
"""The results as text for the terminal, as Markdown and as JSON."""
import json

from .result import Result, number, suffix
from .settings import GIB

BEGIN = "<!-- measured by tools/bench/peers: begin -->"
END = "<!-- measured by tools/bench/peers: end -->"
VERDICT = {True: "met", False: "missed", None: ""}


def span(measure):
    if len(measure.values) < 2:
        return ""
    return f"{number(min(measure.values))} to {number(max(measure.values))}"


def ratio(measure):
    return "" if measure.ratio is None else number(measure.ratio)


def goal(figure):
    return figure.goal.text(figure.unit) if figure.goal else ""


def measured(figure):
    return number(figure.value) + suffix(figure.unit)


def text(result):
    """One row."""
    lines = [f"{result.title}  ({result.seconds:.0f} s)"]
    for m in result.measures:
        median = number(m.median) + " " + m.unit
        lines.append(f"    {m.label:44}{median:>16}  {span(m):>24}  {ratio(m):>8}")
    for f in result.figures:
        verdict = f"goal {goal(f)}: {VERDICT[f.met]}" if f.goal else "no goal"
        lines.append(f"  = {f.title}: {measured(f)}  ({verdict})")
    lines += [f"    {note}" for note in result.notes]
    return "\n".join(lines)


def summary(results):
    """All figures that have a goal."""
    figures = [f for result in results for f in result.figures if f.goal]
    if not figures:
        return ""
    width = max((len(f.title) for f in figures)) + 2
    lines = [f"{'':{width}}{'goal':>12}{'measured':>14}"]
    for f in figures:
        lines.append(f"{f.title:{width}}{goal(f):>12}{measured(f):>14}  {VERDICT[f.met]}")
    return "\n".join(lines)


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _measures(measures):
    """Columns that would be empty are left out."""
    columns = [
        ("", lambda m: m.label),
        ("median", lambda m: f"{number(m.median)} {m.unit}"),
        ("rounds", span),
        ("against the first", ratio),
    ]
    used = [column for column in columns if any(column[1](m) for m in measures)]
    return _table([name for name, _ in used], [[cell(m) for _, cell in used] for m in measures])


def _conditions(settings):
    quick = "**A quick run: its figures mean nothing.** " if settings["quick"] else ""
    return (
        f"{quick}Disks of {settings['size'] / GIB:g} GiB; {settings['rounds']} rounds of about "
        f"{settings['seconds']:g} s in process, {settings['nbd_rounds']} of {settings['nbd_seconds']:g} s over "
        f"NBD, {settings['rounds']} of {settings['snapshot_seconds']:g} s with snapshots, "
        f"{settings['engine_rounds']} of the others. The machine:"
    )


def markdown(run):
    """The part of docs/performance.md that is measured."""
    parts = [
        _conditions(run["settings"]),
        _table(["", ""], [[k, str(v)] for k, v in run["machine"].items()]),
    ]
    figures = [f for result in run["results"] for f in result.figures]
    rows = [[f.title, goal(f) or "none", measured(f), VERDICT[f.met]] for f in figures]
    parts += [_table(["what", "goal", "measured", ""], rows)]
    for result in run["results"]:
        parts += [f"### {result.title}", _measures(result.measures), *result.notes]
    return "\n\n".join(parts) + "\n"


def write_markdown(path, run):
    """Into the document's measured part if it has one, else a file of its own."""
    made = markdown(run)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        made = f"{before}{BEGIN}\n\n{made}\n{END}{after}"
    path.write_text(made, encoding="utf-8")


def to_json(run):
    data = {**run, "results": [result.to_json() for result in run["results"]]}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def from_json(content):
    run = json.loads(content)
    run["results"] = [Result.from_json(data) for data in run["results"]]
    return run
