"""Chart of a whole run: udpft and TCP side by side, a line for each scenario.

It is the report's first, and the README's. A repository's page shows it on white or on black, and
says neither to a picture: so there are two, each with a ground of its own, and no viewer has to
know a style sheet.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from bench.report import plots, verdict, words
from bench.report.verdict import Verdict
from bench.report.words import three_digits
from bench.result import Run

_WIDTH_IN, _ROW_IN, _AROUND_IN, _PAD_IN = 7.4, 0.215, 1.15, 0.1


@dataclass(frozen=True)
class Theme:
    """The colours of text, of lines that nobody should notice, and of the ground."""

    ink: str
    grid: str
    paper: str


THEMES = {
    "light": Theme(ink="#1f2328", grid="#d8dee4", paper="#ffffff"),
    "dark": Theme(ink="#e6edf3", grid="#343b44", paper="#0d1117"),
}


_PAGE = Theme(plots.INK, plots.GRID, plots.PAPER)
"""The colours of the page around it, whatever they are."""


def picture(run: Run) -> plots.Picture | None:
    """The chart for the report, if there is anything to compare."""
    if not verdict.verdicts(run):
        return None
    with mpl.rc_context(_style(_PAGE) | {"font.size": 8.5}):
        svg = plots.svg(_figure(run, _PAGE, plots.WIDTH_IN), "chart")
    title = f"{run.subject} and {run.reference} in every scenario"
    return plots.Picture("chart", title, alt(run), svg)


def chart(run: Run, theme: Theme) -> str:
    """An SVG file: both goodputs of each scenario with their intervals, and the ratio."""
    out = io.StringIO()
    grounds = dict.fromkeys(("figure.facecolor", "savefig.facecolor"), theme.paper)
    with mpl.rc_context(_style(theme) | grounds | {"svg.hashsalt": "chart"}):
        _figure(run, theme, _WIDTH_IN).savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _style(theme: Theme) -> Any:
    return plots.style(theme.ink, theme.grid) | {"font.size": 9}


def _figure(run: Run, theme: Theme, width_in: float) -> Figure:
    rows = _rows(verdict.verdicts(run))
    figure = Figure((width_in, _ROW_IN * len(rows) + _AROUND_IN))
    figure.set_layout_engine("constrained", w_pad=_PAD_IN, h_pad=_PAD_IN)
    _draw(figure.subplots(), run, rows, theme)
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def alt(run: Run) -> str:
    """The same in words."""
    told = []
    for found in verdict.verdicts(run):
        both = (three_digits(e.median / 1e6) for e in (found.subject, found.reference))
        told.append(f"{found.scenario.name} {' and '.join(both)}")
    return f"MB/s of {run.subject} and of {run.reference}, medians: {'; '.join(told)}."


def _rows(found: Sequence[Verdict]) -> list[tuple[str, Verdict | None]]:
    """What stands at the left of each line; headings, of a group of lines, have no verdict."""
    rows: list[tuple[str, Verdict | None]] = []
    for group in dict.fromkeys(v.scenario.group for v in found):
        mine = [v for v in found if v.scenario.group == group]
        rows.append((plots.heading(group, [v.scenario for v in mine]), None))
        rows += [(plots.point(group, v.scenario), v) for v in mine]
    return rows


def _draw(axes: Axes, run: Run, rows: Sequence[tuple[str, Verdict | None]], theme: Theme) -> None:
    beyond: Any = axes.get_yaxis_transform()
    for at, (text, found) in enumerate(rows):
        if found:
            _line(axes, run, at, found, theme)
            words_ = f"{words.ratio(found.ratio.median)} ×"
            axes.text(1.02, at, words_, va="center", transform=beyond)
        else:
            _heading(axes, at, text, theme)
    for label in (run.subject, run.reference, *verdict.siblings(run)):
        axes.plot([], [], linestyle="none", label=label, **_mark(run, label))
    shown = [(at, text) for at, (text, found) in enumerate(rows) if found]
    axes.set_yticks([at for at, _ in shown], [text for _, text in shown])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    plots.log_axis(axes, "x")
    axes.set_xlabel("MB/s of file, logarithmic: median and 95 % interval")
    axes.text(1.02, -0.9, "ratio", va="center", transform=beyond, in_layout=False)


def _heading(axes: Axes, at: float, text: str, theme: Theme) -> None:
    """A line of its own, from the picture's left edge on, over the grid."""
    across: Any = blended_transform_factory(axes.figure.transFigure, axes.transData)
    ground = {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.5}
    heading = axes.text(0.02, at + 0.1, text, va="center", weight="bold", bbox=ground)
    heading.set_transform(across)
    heading.set_in_layout(False)


def _line(axes: Axes, run: Run, at: int, found: Verdict, theme: Theme) -> None:
    """A scenario: both ends with what lies between; TCP's other settings without an interval."""
    ends = [found.subject.median / 1e6, found.reference.median / 1e6]
    axes.plot(ends, [at, at], color=theme.grid, linewidth=3)
    for label in verdict.siblings(run):
        [other] = verdict.rates(run, found.scenario, label)
        if other:
            axes.plot(other.median / 1e6, at, **_mark(run, label))
    for estimate, label in ((found.reference, run.reference), (found.subject, run.subject)):
        colour = plots.colour_of(run, label)
        axes.hlines(at, estimate.low / 1e6, estimate.high / 1e6, color=colour, linewidth=1.2)
        axes.plot(estimate.median / 1e6, at, **_mark(run, label))


def _mark(run: Run, label: str) -> dict[str, Any]:
    """The mark of a mode: a disc, a square; a hollow diamond for the reference's siblings."""
    if label in (run.subject, run.reference):
        marker, fill = ("o" if label == run.subject else "s"), plots.colour_of(run, label)
    else:
        marker, fill = "D", "none"
    colour = plots.colour_of(run, label)
    return {"marker": marker, "color": colour, "markerfacecolor": fill, "markersize": 5.5}
