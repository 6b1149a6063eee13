# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures out of what replaying measured, and a table of them."""
from .replay_disks import REFERENCE
from .settings import MIB


def per_guest_byte(result):
    """Every counter of bytes that query-predsnap has, for each byte the guest wrote."""
    stats = result["counters"]["quiet"].get("stats", {})
    guest = result["client"]["write"]["bytes"]
    return {name: value / guest for name, value in stats.items() if name.endswith("-bytes") and guest}


def hit_rates(counters, prefix=""):
    """Whatever is called a hit rate, at any depth."""
    found = {}
    for name, value in counters.items():
        if isinstance(value, dict):
            found |= hit_rates(value, f"{prefix}{name}.")
        elif "hit" in name and isinstance(value, (int, float)):
            found[prefix + name] = value
    return found


def shares(written, rates):
    """Of what was written to the host for each byte of the guest's: its own log; what the cleaner moved; segments
    written ahead; and the rest, which is streams, index and checkpoints. The rest is what is left and not the sum
    of counters, so nothing that somebody forgot to count is missing."""
    return {
        "log bytes / guest byte": rates["batch-bytes"] - rates["moved-bytes"],
        "moved bytes / guest byte": rates["moved-bytes"],
        "bytes written ahead / guest byte": rates["prewritten-bytes"],
        "other bytes / guest byte": written - rates["batch-bytes"] - rates["prewritten-bytes"],
    }


def figures(results):
    """Adds to each disk's result what follows from it and from that of the reference."""
    reference = results.get(REFERENCE)
    for result in results.values():
        guest = result["client"]["write"]["bytes"]
        rates = per_guest_byte(result)
        figure = {"write amplification": result["written"]["quiet"] / guest if guest else None}
        if rates:
            figure |= shares(figure["write amplification"], rates)
            figure |= {
                "bytes / guest byte": rates,
                "hit rates": hit_rates(result["counters"]["quiet"]),
            }
        if reference:
            for when in ("end", "quiet", "peak"):
                figure[f"space / {REFERENCE}, {when}"] = result["space"][when] / reference["space"][when]
        result["figures"] = figure
    return results


def us(latencies, which):
    return f"{latencies[which]:,}" if which in latencies else "-"


def milliseconds(times, which):
    return f"{times[which]:.1f}" if times else "-"


def ratio(value):
    return "-" if value is None else f"{value:.2f}"


HEADINGS = (
    *("disk", "end", "peak", "quiet", "of overlays", "written", "log", "moved", "ahead", "other"),
    *("write p50", "p99", "read p50", "p99", "flush p99", "point p50", "max"),
)


def row(name, result):
    figure, client = result["figures"], result["client"]
    space = [f"{result['space'][when] / MIB:,.0f}" for when in ("end", "peak", "quiet")]
    return (
        name,
        *space,
        ratio(figure.get(f"space / {REFERENCE}, quiet")),
        ratio(figure["write amplification"]),
        ratio(figure.get("log bytes / guest byte")),
        ratio(figure.get("moved bytes / guest byte")),
        ratio(figure.get("bytes written ahead / guest byte")),
        ratio(figure.get("other bytes / guest byte")),
        us(client["write"], "p50_us"),
        us(client["write"], "p99_us"),
        us(client["read"], "p50_us"),
        us(client["read"], "p99_us"),
        us(client["flush"], "p99_us"),
        milliseconds(result.get("point ms"), "p50"),
        milliseconds(result.get("point ms"), "max"),
    )


def table(results):
    rows = [HEADINGS, *(row(name, result) for name, result in results.items())]
    widths = [max(len(line[i]) for line in rows) for i in range(len(HEADINGS))]
    lines = []
    for line in rows:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        lines.append("  ".join([line[0].ljust(widths[0]), *cells]))
    return "\n".join(lines)


def text(trace, described, points_s, results):
    """One trace's figures for the terminal."""
    count = next(iter(results.values()))["points"]
    head = (
        f"{trace}: {described['requests']:,} requests in {described['span_us'] / 1e6:,.0f} s, "
        f"{described['written_bytes'] / MIB:,.0f} MiB written; "
        + (f"{count} points, {points_s:g} s apart" if count else "no points")
    )
    return f"{head}\n{table(results)}"


LEGEND = """space in MiB: allocated when the trace ended, at most, and when background work had gone quiet; of
overlays: the last, against qcow2-overlays. For each byte the guest wrote: bytes written to the host until it was quiet;
of them, the guest's log, what the cleaner moved, segments written ahead, and streams, index and checkpoints.
Latencies in us, points in ms."""
