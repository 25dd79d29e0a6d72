# SPDX-License-Identifier: Apache-2.0
"""One table, in Markdown, and plots of what was measured."""
import collections
import dataclasses
import math
import statistics
from xml.sax.saxutils import escape

import measures
from drawing import markdown, number, svg
from peers import COLUMNS


@dataclasses.dataclass(frozen=True)
class Row:
    measure: str
    figure: str
    title: str
    unit: str = "ms"
    has_best: bool = True  # if less of it is better
    noise: float = 0  # what is not above it is as good as anything


ROWS = [
    Row("loops-10ms", "lateness", "looping call of 10 ms: lateness, median", noise=0.05),
    Row("loops-10ms", "tail", "lateness, p99", has_best=False),
    Row("loops-10ms", "drift", "falls behind in a second by", noise=0.1),
    Row("loops-1ms", "lateness", "looping call of 1 ms: lateness, median", noise=0.05),
    Row("loops-1ms", "tail", "lateness, p99", has_best=False),
    Row("loops-1ms", "drift", "falls behind in a second by", noise=0.1),
    Row("loops-1ms", "calls", "calls made, of those due", "%", False),
    Row("loops-1000", "lateness", "1,000 looping calls of 100 ms: lateness, median", noise=0.05),
    Row("loops-1000", "tail", "lateness, p99", has_best=False),
    Row("loops-1000", "processor", "processor time, of one processor", "%"),
    Row("loops-1000", "threads", "threads", ""),
    Row("supervision", "restart", "SIGKILL of a worker to its replacement's first line"),
    Row("supervision", "first back", "all four killed: until the first is back"),
    Row("supervision", "all back", "until all are back"),
    Row("supervision", "start", "cold start, to the fourth worker's first line"),
    Row("supervision", "stop", "SIGTERM to the end of all"),
    Row("supervision", "worker memory", "idle worker, PSS", "MiB"),
    Row("supervision", "supervisor memory", "idle supervisor, with its helpers, PSS", "MiB"),
    Row("supervision", "idle processor", "all idle: processor time in a second", noise=0.01),
    Row("supervision", "wakeups", "all idle: wakeups in a second", ""),
    Row("scrape", "plain", "scrape of 10,000 series, one process"),
    Row("scrape", "gzip", "the same, compressed"),
    Row("scrape-workers", "plain", "scrape of 10,000 series, four workers"),
    Row("scrape-workers", "gzip", "the same, compressed"),
    Row("scrape-restarts", "plain", "the same after 50 restarts"),
    Row("scrape-restarts", "gzip", "the same, compressed"),
    Row("jobs", "job", "a job that does nothing, to its end", "µs"),
    Row("crash-loop", "starts", "workers exit at once: starts in 10 s", "", False),
    Row("hang", "noticed", "a worker's work hangs: replaced after", "s"),
    Row("supervisor-killed", "gone", "SIGKILL of the supervisor: its workers are gone after"),
]


class Results:
    def __init__(self, records):
        # The measure's name and the peer's: values, or the text that stands for them.
        self.figures = collections.defaultdict(dict)
        self.others = collections.defaultdict(list)
        self.heads, self.minutes = [], 0
        for record in records:
            if "versions" in record:
                self.heads.append(record)
            elif "minutes" in record:
                self.minutes += record["minutes"]
            else:
                self.add(record["measure"], record["peer"], record["figures"])
                if "others" in record:
                    self.others[record["measure"]].append(record["others"])

    def add(self, measure, peer, figures):
        known = self.figures[measure, peer]
        if isinstance(figures, str):
            return known.setdefault("", figures)
        for name, values in figures.items():
            if isinstance(values, str) or isinstance(known.get(name), str):
                known[name] = values if isinstance(values, str) else known[name]
            else:
                known.setdefault(name, []).extend(values)

    def of(self, row):
        """By peer: values, or a text. A peer that was not measured is not in it."""
        found = {}
        for measure in measures.MEASURES:
            for peer in measure.peers if measure.name == row.measure else []:
                known = self.figures.get((measure.name, peer.name), {})
                if (values := known.get(row.figure, known.get(""))) is not None:
                    found[peer] = values
        return found


def table(records):
    results = Results(records)
    lines = [["", "", *COLUMNS, "others"]]
    for row in ROWS:
        found = results.of(row)
        if not found:
            continue
        # C is there to tell what the machine can do.
        medians = [statistics.median(values) for peer, values in found.items()
                   if not isinstance(values, str) and peer.column != "C"]
        best = max(1.05 * min(medians, default=0), row.noise) if row.has_best else -math.inf
        cells = {column: [] for column in COLUMNS}
        for peer, values in found.items():
            text = values
            if not isinstance(values, str):
                middle = statistics.median(values)
                text = number(middle)
                if peer.column != "C" and middle <= best:
                    text = f"**{text}**"
                if (least := number(min(values))) != (most := number(max(values))):
                    text += f" ({least} to {most})"
            cells[peer.column].append(f"{peer.label} {text}".strip())
        planned = {peer.column for measure in measures.MEASURES if measure.name == row.measure
                   for peer in measure.peers}
        lines.append([row.title, row.unit, *("; ".join(cells[column]) or ("" if column in planned else "none")
                                             for column in COLUMNS),
                      f"{statistics.median(others):.0f} %" if (others := results.others[row.measure]) else ""])
    return f"{markdown(lines)}\n\n{foot(results)}"


def foot(results):
    lines = ["Median (least to most) of all rounds; bold: the best of the row, and what cannot be told from it, C aside. "
             "none: it has no such thing; missing: it could not be had here."]
    if others := sum(results.others.values(), []):
        lines.append(f"others: what other processes used of a processor, median; over all {statistics.median(others):.0f} %, "
                     f"{max(others):.0f} % at most. It took {results.minutes:.1f} minutes.")
    if results.heads:
        head, dates = results.heads[0], sorted({head["date"] for head in results.heads})
        lines.append(f"{' and '.join(dates)}, Linux {head['kernel']}, {head['processors']} processors; "
                     + ", ".join(f"{name} {version}" for name, version in head["versions"].items()) + ".")
    return "\n".join(lines)


# Plots: for each row a line of dots on a logarithmic scale, with their ranges.

COLORS = {"Muster, cooperative": "#0b7285", "Muster, threading": "#22a6b8", "oslo.service, eventlet": "#c92a2a",
          "oslo.service, threading": "#f08c00", "other Python": "#9c36b5", "Go": "#2b8a3e", "Swift alone": "#5f3dc4",
          "C": "#868e96"}
PLOTS = {
    "peers-supervision.svg": (
        "Supervision of four workers, in milliseconds on a logarithmic scale: less is better",
        [("supervision", "restart", "worker killed: replaced after"), ("supervision", "all back", "all four killed: all back after"),
         ("supervision", "start", "cold start of four workers"),
         ("supervision", "stop", "SIGTERM to the end of all")]),
    "peers-loops-and-scrapes.svg": (
        "Looping calls and scrapes, in milliseconds on a logarithmic scale: less is better",
        [("loops-10ms", "lateness", "lateness at 10 ms, median"), ("loops-1000", "lateness", "lateness of 1,000 at 100 ms"),
         ("scrape", "plain", "scrape of 10,000 series, one process"),
         ("scrape-workers", "plain", "scrape of 10,000 series, four workers"),
         ("scrape-restarts", "plain", "the same after 50 restarts")]),
}
WIDTH, LEFT, RIGHT, LINE = 840, 260, 750, 19


def draw(records, folder):
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(records)
    for name, (title, rows) in PLOTS.items():
        groups = []
        for row in rows:
            found = {peer: values for peer, values in results.of(Row(*row)).items() if not isinstance(values, str)}
            if found:
                groups.append((row[2], sorted(found.items(), key=lambda pair: statistics.median(pair[1]))))
        if groups:
            (folder / name).write_text(plot(title, groups))


def plot(title, groups):
    values = [max(value, 0.01) for _, found in groups for _, of_peer in found for value in of_peer]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(value):
        return LEFT + (RIGHT - LEFT) * (math.log10(max(value, 0.01)) - low) / (high - low or 1)

    height = 76 + sum(LINE * (len(found) + 1) + 12 for _, found in groups)
    parts = []
    for power in range(low, high + 1):
        at = x(10 ** power)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="56" y2="{height - 8}"/>'
                     f'<text class="quiet middle" x="{at:.1f}" y="48">{10 ** power:,g}</text>')
    y = 76
    for heading, found in groups:
        parts.append(f'<text class="head" x="12" y="{y}">{escape(heading)}</text>')
        y += LINE
        for peer, of_peer in found:
            color, middle = COLORS[peer.column], statistics.median(of_peer)
            name = {"other Python": peer.label, "Go": f"Go, {peer.label}"}.get(peer.column, peer.column)
            parts.append(
                f'<text class="name" x="{LEFT - 12}" y="{y}">{escape(name)}</text>'
                f'<line x1="{x(min(of_peer)):.1f}" x2="{x(max(of_peer)):.1f}" y1="{y - 4}" y2="{y - 4}" stroke="{color}" '
                f'stroke-width="3" stroke-linecap="round" opacity="0.5"/>'
                f'<circle cx="{x(middle):.1f}" cy="{y - 4}" r="5" fill="{color}"/>'
                f'<text x="{RIGHT + 14}" y="{y}">{number(middle)}</text>')
            y += LINE
        y += 12
    return svg(title, WIDTH, height, parts)
