"""Plots of a report, as SVG that takes its colours from the page around it.

What is text, axis or grid is drawn in colours that nobody else uses, and those become
``currentColor`` and a variable of the page: the same picture is right on light and on dark. Text is
drawn as outlines, so that no reader's fonts make it overlap.
"""

from __future__ import annotations

import io
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.report.words import bits, count, rate, size, three_digits, times
from bench.result import Run, Sample, Scenario
from bench.stats import good

INK, GRID, PAPER = "#010203", "#010204", "#010205"
"""Stand-ins: for the page's text colour, and for its ``--grid`` and ``--paper``."""

_OURS = ("#d9480f", "#f08c00", "#e8590c", "#c2255c", "#a61e4d")
_THEIRS = {
    "nginx + curl": "#1c7ed6",
    "nginx + curl, cubic": "#4dabf7",
    "Python sendfile": "#4263eb",
    "uftp": "#2b8a3e",
    "tftp, windowed": "#66a80f",
    "srt-file-transmit": "#0c8599",
    "aioquic": "#9c36b5",
}
_GREY = "#868e96"
_LEAST_SPAN = 4.0
_MARKERS = "os^Dvp*X"
WIDTH_IN = 5.6  # narrow, so that its text is large enough on a phone


def style(ink: str, grid: str) -> Any:
    """How everything looks, in these colours, on no ground of its own."""
    return {
        "font.size": 9.5,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": grid,
        "xtick.color": ink,
        "ytick.color": ink,
        "grid.color": grid,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.frameon": False,
        "svg.fonttype": "path",
    }


@dataclass(frozen=True)
class Picture:
    """A plot, ready for a page: its SVG, what it is called, and what it shows to who cannot see."""

    name: str
    title: str
    alt: str
    svg: str


def pictures(run: Run) -> list[Picture]:
    """Every picture that the run has the samples for."""
    drawn: list[Picture | None] = []
    with mpl.rc_context(style(INK, GRID)):
        drawn += [_throughput(run, s) for s in run.scenarios if s.group in ("lan", "custom")]
        drawn += [_sweep(run, *axis) for axis in _AXES]
        drawn += [_cpu(run), _trace(run)]
    return [picture for picture in drawn if picture]


# --------------------------------------------------------------------------------- by mode


def _throughput(run: Run, scenario: Scenario) -> Picture | None:
    """Goodput by mode: a dot for each sample, a bar at the median."""
    rows = [mode for mode in run.modes if _ran(run, scenario.name, mode.label)]
    if not rows:
        return None
    figure, axes = _figure(0.34 * len(rows) + 0.9)
    for at, mode in enumerate(rows):
        rates = [s.bytes_per_s / 1e6 for s in good(run.samples, scenario.name, mode.label)]
        colour = colour_of(run, mode.label)
        if rates:
            spread = [at + (i / max(1, len(rates) - 1) - 0.5) * 0.4 for i in range(len(rates))]
            axes.scatter(rates, spread, s=26, color=colour, alpha=0.75, linewidths=0)
            axes.vlines(_median(rates), at - 0.36, at + 0.36, color=colour, linewidth=2.5)
    axes.set_yticks(range(len(rows)), [mode.label for mode in rows])
    beyond: Any = axes.get_yaxis_transform()
    for at, mode in enumerate(rows):
        mine = good(run.samples, scenario.name, mode.label)
        if not mine:
            axes.text(0.01, at, "failed", va="center", transform=beyond)
            continue
        text = rate(_median([s.bytes_per_s for s in mine]))
        axes.text(1.02, at, text, va="center", transform=beyond)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    log_axis(axes, "x")
    axes.set_xlabel("MB/s of file, logarithmic (dot: a run; bar: the median)")
    alt = _medians(run, scenario.name, [mode.label for mode in rows])
    title = f"Throughput by mode, {scenario.name}: {size(scenario.size_bytes)}"
    return Picture(f"throughput-{_slug(scenario.name)}", title, alt, svg(figure, scenario.name))


def _cpu(run: Run) -> Picture | None:
    """Processor seconds for each GB, of both ends."""
    scenario = next((s for s in run.scenarios if s.group in ("lan", "custom")), None)
    if not scenario:
        return None
    rows = [m for m in run.modes if good(run.samples, scenario.name, m.label)]
    rows = [mode for mode in rows if mode.kind != "ceiling"]
    if not rows:
        return None
    figure, axes = _figure(0.34 * len(rows) + 1.2)
    told = []
    longest = 0.0
    bars = []
    for mode in rows:
        mine = good(run.samples, scenario.name, mode.label)
        ends = [
            _median([s.client_cpu_s / s.size_bytes * 1e9 for s in mine]),
            _median([s.server_cpu_s / s.size_bytes * 1e9 for s in mine]),
        ]
        bars.append(ends)
        told.append(f"{mode.label} {sum(ends):.2f}")
    # One mode that takes ten times as much as the next would leave no room for the others.
    sums = sorted((sum(ends) for ends in bars), reverse=True)
    cut = 1.5 * sums[1] if len(sums) > 2 and sums[0] > 3 * sums[1] else math.inf
    for at, ends in enumerate(bars):
        client, server = (min(end, cut * end / (sum(ends) or 1)) for end in ends)
        if sum(ends) <= cut:
            client, server = ends
        axes.barh(at, client, 0.6, color="#1c7ed6", label="" if at else "client")
        axes.barh(at, server, 0.6, left=client, color="#f08c00", label="" if at else "server")
        longest = max(longest, client + server)
        beyond = " (bar cut)" if sum(ends) > cut else ""
        axes.annotate(
            f"{sum(ends):.2f}{beyond}",
            (client + server, at),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(rows)), [mode.label for mode in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * longest)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("processor seconds for each GB of file, median")
    figure.legend(loc="outside upper right", ncols=2)
    title = f"What it costs, {scenario.name}"
    alt = f"Processor seconds for each GB, both ends together: {'; '.join(told)}."
    return Picture("cpu", title, alt, svg(figure, "cpu"))


# ------------------------------------------------------------------------------- one thing varied

_Axis = tuple[str, str, str, Callable[[Scenario], float], Callable[[float], str], bool]

_AXES: tuple[_Axis, ...] = (
    (
        "loss",
        "Throughput against loss",
        "packets lost each way, %",
        lambda s: s.loss * 100,
        lambda x: f"{x:g}",
        False,
    ),
    (
        "rtt",
        "Throughput against round-trip time",
        "round trip, ms",
        lambda s: s.rtt_s * 1000,
        lambda x: f"{x:g}",
        True,
    ),
    (
        "rate",
        "Throughput against the link's rate",
        "rate of the link, Mbit/s",
        lambda s: s.rate_bit_per_s / 1e6,
        lambda x: f"{x:g}",
        True,
    ),
    (
        "size",
        "Throughput against size",
        "size of the file",
        lambda s: float(s.size_bytes),
        lambda x: size(round(x)),
        True,
    ),
    (
        "clients",
        "Throughput against number of clients",
        "clients at once",
        lambda s: float(s.clients),
        lambda x: f"{x:g}",
        True,
    ),
)


def _sweep(
    run: Run,
    group: str,
    title: str,
    label: str,
    x_of: Callable[[Scenario], float],
    word: Callable[[float], str],
    is_log: bool,
) -> Picture | None:
    """Goodput of each mode over one axis: dots for samples, a line through the medians."""
    points = sorted((s for s in run.scenarios if s.group == group), key=x_of)
    points = [s for s in points if any(good(run.samples, s.name, m.label) for m in run.modes)]
    modes = [m for m in run.modes if any(good(run.samples, s.name, m.label) for s in points)]
    if not points:
        return None
    figure, axes = _figure(3.6)
    told = []
    for at, mode in enumerate(modes):
        seen = [(x_of(s), good(run.samples, s.name, mode.label)) for s in points]
        seen = [(x, mine) for x, mine in seen if mine]
        medians = [_median([s.bytes_per_s / 1e6 for s in mine]) for _, mine in seen]
        colour, marker = colour_of(run, mode.label), _MARKERS[at % len(_MARKERS)]
        for x, mine in seen:
            rates = [s.bytes_per_s / 1e6 for s in mine]
            axes.scatter([x] * len(rates), rates, s=14, color=colour, alpha=0.45, linewidths=0)
        axes.plot(
            [x for x, _ in seen],
            medians,
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            linestyle="--" if mode.label == run.again else "-",
            label=mode.label,
        )
        values = (
            f"{three_digits(y)} at {word(x)}" for (x, _), y in zip(seen, medians, strict=True)
        )
        told.append(f"{mode.label}: {', '.join(values)}")
    if is_log:
        axes.set_xscale("log")
    ticks = [word(x_of(s)).replace(" ", "\n") for s in points]  # a unit below its number
    axes.set_xticks([x_of(s) for s in points], ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.06)
    log_axis(axes, "y")
    axes.set_ylabel("MB/s of file, logarithmic")
    axes.set_xlabel(f"{label} ({_common(points)})")
    figure.legend(loc="outside upper left", ncols=3)
    alt = f"MB/s, medians. {'; '.join(told)}."
    return Picture(group, title, alt, svg(figure, group))


def heading(group: str, points: Sequence[Scenario]) -> str:
    """What a group of scenarios varies, and what it keeps."""
    for name, _, label, *_ in _AXES:
        if name == group:
            return f"{label.partition(',')[0].capitalize()} ({_common(points)})"
    return "Bare network" if group == "lan" else group.capitalize()


def point(group: str, scenario: Scenario) -> str:
    """Where a scenario is on its group's axis, with the unit."""
    if group == "clients":
        return count(scenario.clients, "client")
    for name, _, label, x_of, word, _ in _AXES:
        if name == group:
            return f"{word(x_of(scenario))} {label.partition(', ')[2]}".strip()
    loss = f", {scenario.loss * 100:g} % loss" if scenario.loss else ""
    return f"{size(scenario.size_bytes)}, MTU {scenario.mtu}{loss}"


def _common(points: Sequence[Scenario]) -> str:
    """What all points of an axis have in common, in words."""
    first = points[0]
    words = [f"MTU {first.mtu}"]
    if len({s.size_bytes for s in points}) == 1:
        words.append(size(first.size_bytes))
    elif len({s.size_bytes * s.clients for s in points}) == 1:
        words.append(f"{size(first.size_bytes * first.clients)} in all")
    if first.rate_bit_per_s and len({s.rate_bit_per_s for s in points}) == 1:
        words.append(bits(first.rate_bit_per_s))
    if first.rtt_s and len({s.rtt_s for s in points}) == 1:
        words.append(f"{times(first.rtt_s)} round trip")
    return ", ".join(words)


# -------------------------------------------------------------------------------- over time


def _trace(run: Run) -> Picture | None:
    """Goodput and congestion window of one transfer, losses marked."""
    trace = run.trace
    if not trace:
        return None
    figure = Figure((WIDTH_IN, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    goodput = [rate / 1e6 for rate in trace.goodput_bytes_per_s]
    upper.plot(trace.at_s, goodput, color=_OURS[0], linewidth=1.5, label="goodput")
    upper.axhline(trace.link_bytes_per_s / 1e6, color=_GREY, linestyle=":", label="the link's rate")
    upper.set_ylabel("goodput, MB/s")
    upper.set_ylim(0, 1.45 * trace.link_bytes_per_s / 1e6)
    upper.legend(loc="upper right", ncols=2)
    window = [n / 1e6 for n in trace.window_bytes]
    lower.plot(trace.at_s, window, color="#1c7ed6", linewidth=1.5, label="congestion window")
    lower.plot(
        trace.lost_at_s,
        [0.0] * len(trace.lost_at_s),
        "|",
        color=_OURS[3],
        markersize=11,
        markeredgewidth=1.4,
        label="packets sent again",
        clip_on=False,
    )
    lower.set_ylim(0, 1.45 * max(window))
    lower.set_ylabel("window, MB")
    lower.set_xlabel("seconds since the transfer began")
    lower.legend(loc="upper right", ncols=2)
    whole = sum(goodput) / len(goodput)
    alt = (
        f"Over {trace.at_s[-1]:.1f} s, goodput averages {whole:.1f} MB/s of the link's "
        f"{trace.link_bytes_per_s / 1e6:.1f} MB/s; the window peaks at {max(window):.2f} MB; "
        f"packets are sent again at {len(trace.lost_at_s)} moments."
    )
    title = f"One reliable transfer over time ({trace.what})"
    return Picture("trace", title, alt, svg(figure, "trace"))


# --------------------------------------------------------------------------------- drawing


def colour_of(run: Run, label: str) -> str:
    """The colour that a mode has in every picture."""
    ours = [mode.label for mode in run.modes if mode.kind == "udpft"]
    if label in ours:
        return _OURS[ours.index(label) % len(_OURS)]
    return _THEIRS.get(label, _GREY)


def _figure(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure((WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots()


def log_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers on it, and enough of them."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    if 0 < high / low < _LEAST_SPAN:  # few numbers fit on less
        wider = math.sqrt(_LEAST_SPAN * low / high)
        low, high = low / wider, high * wider
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    decades = math.log10(high / low)
    digits = (1,) if decades > 3 else (1, 3) if decades > 1.2 else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_formatter(NullFormatter())


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _medians(run: Run, scenario: str, labels: Sequence[str]) -> str:
    words = []
    for label in labels:
        rates = [s.bytes_per_s / 1e6 for s in good(run.samples, scenario, label)]
        words.append(f"{label} {three_digits(_median(rates))}" if rates else f"{label} failed")
    return f"MB/s, medians: {'; '.join(words)}."


def _ran(run: Run, scenario: str, label: str) -> list[Sample]:
    return [s for s in run.samples if (s.scenario, s.mode) == (scenario, label)]


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name).strip("-")


def svg(figure: Figure, name: str) -> str:
    """The figure as SVG to be put into a page: no outside reference, ids of its own."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    own = _slug(name)
    text = re.sub(r'\bid="', f'id="{own}-', text)
    text = re.sub(r'href="#', f'href="#{own}-', text)
    text = text.replace("url(#", f"url(#{own}-")
    text = text.replace(INK, "currentColor")
    text = text.replace(GRID, "var(--grid)").replace(PAPER, "var(--paper)")
    # The page says how large it is; the picture only how wide to how high.
    head, tail = text.split(">", 1)
    return re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + tail
