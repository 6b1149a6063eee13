# SPDX-License-Identifier: GPL-2.0-or-later
"""What a row of the benchmark finds: measures of each peer, and figures held against goals."""
import statistics
from dataclasses import asdict, dataclass, field


@dataclass
class Goal:
    """A bound from the design. `at_least` tells its direction; `unit` is that of the figure."""

    value: float
    at_least: bool = True

    def met(self, value):
        return value >= self.value if self.at_least else value <= self.value

    def text(self, unit):
        return f"{'≥' if self.at_least else '≤'} {number(self.value)}{suffix(unit)}"


@dataclass
class Measure:
    """One value for each round, of one peer or one side of a comparison."""

    label: str
    values: list
    unit: str
    ratio: float | None = None  # to the row's first measure, median of the rounds' ratios

    @property
    def median(self):
        return statistics.median(self.values)


@dataclass
class Figure:
    """One number that says how well predsnap does. Without a goal it is only reported."""

    key: str
    title: str
    value: float
    unit: str = ""
    goal: Goal | None = None

    @property
    def met(self):
        return None if self.goal is None else self.goal.met(self.value)


@dataclass
class Result:
    """Of one row."""

    key: str
    title: str
    measures: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self):
        data = asdict(self)
        for measure, made in zip(self.measures, data["measures"]):
            made["median"] = measure.median
        for figure, made in zip(self.figures, data["figures"]):
            made["met"] = figure.met
        return data

    @classmethod
    def from_json(cls, data):
        known = {k: data[k] for k in ("key", "title", "notes", "seconds")}
        measures = [
            Measure(m["label"], m["values"], m["unit"], m["ratio"]) for m in data["measures"]
        ]
        figures = [
            Figure(f["key"], f["title"], f["value"], f["unit"], f["goal"] and Goal(**f["goal"]))
            for f in data["figures"]
        ]
        return cls(measures=measures, figures=figures, **known)


def median_ratio(of, to):
    """Rounds are compared one by one, so that a machine that gets slower does not count."""
    return statistics.median(a / b for a, b in zip(of, to))


def number(value):
    """Three significant digits; whole numbers with separators when large."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def suffix(unit):
    return f" {unit}" if unit else ""
