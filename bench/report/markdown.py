"""Report of a run as Markdown, for a pull request and for the README."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

from bench.report import verdict
from bench.report.chart import alt
from bench.report.words import path, rate, ratio, when
from bench.result import Run, Scenario

_PICTURE = """\
<picture>
<source media="(prefers-color-scheme: dark)" srcset="docs/benchmarks/chart-dark.svg">
<img src="docs/benchmarks/chart-light.svg" alt="{alt}">
</picture>"""


def summary(run: Run) -> str:
    """The verdict, a table for each bare network, one of ratios for all else, and the setting."""
    parts = [f"# udpft, measured {when(run.stamp)}", *verdict.sentences(run)]
    shown = [s for s in run.scenarios if s.group in ("lan", "custom")]
    for scenario in shown:
        parts.append(f"## {scenario.name}: {path(scenario)}")
        parts += [_by_mode(run, scenario), f"The path: {verdict.proof_text(run, scenario)}."]
    if others := [s for s in run.scenarios if s not in shown]:
        parts += [f"## Ratios to {run.reference}", _ratios(run, others)]
    parts.append(verdict.setting(run))
    return "\n\n".join(parts) + "\n"


def _by_mode(run: Run, scenario: Scenario) -> str:
    body = [
        [
            row.mode,
            row.rate_text,
            row.ratio_text,
            f"{row.cpu_s_per_gb:.2f}" if row.rate else "–",
            f"{row.rss_bytes / 1e6:.0f}" if row.rss_bytes else "–",
            row.note,
        ]
        for row in verdict.rows(run, scenario)
    ]
    head = ["mode", "median", f"÷ {run.reference}", "CPU s/GB", "RSS, MB", ""]
    return table(head, body)


def _ratios(run: Run, scenarios: Sequence[Scenario]) -> str:
    """A line for each scenario, a column for each mode that has a ratio."""
    by_scenario = {s.name: {r.mode: r for r in verdict.rows(run, s)} for s in scenarios}
    labels = []
    for mode in run.modes:
        mine = [every[mode.label] for every in by_scenario.values() if mode.label in every]
        if mode.label != run.reference and any(row.ratio for row in mine):
            labels.append(mode.label)
    body = []
    for scenario in scenarios:
        cells = [scenario.name]
        for label in labels:
            row = by_scenario[scenario.name].get(label)
            words = [ratio(row.ratio.median)] if row and row.ratio else []
            words += ["failed"] if row and row.note.startswith("failed") else []
            cells.append(", ".join(words))
        cells.append(verdict.proof_text(run, scenario))
        body.append(cells)
    return table(["scenario", *labels, "the path"], body)


def readme(run: Run) -> str:
    """The README's figures: a sentence, the chart, a table, and how it was measured."""
    found = verdict.verdicts(run)
    body = [
        [
            path(v.scenario),
            rate(v.subject.median),
            rate(v.reference.median),
            verdict.interval(v.ratio),
        ]
        for v in found
    ]
    return "\n\n".join(
        [
            _wrapped(next(iter(verdict.sentences(run)))),
            _PICTURE.format(alt=html.escape(alt(run))),
            "<details>\n<summary>The figures</summary>",
            table(["what is fetched", run.subject, run.reference, "ratio, by round"], body),
            "</details>",
            _wrapped(verdict.setting(run)),
        ]
    )


def _wrapped(text: str, width: int = 100) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [_line(head), "|" + "---|" * len(head), *map(_line, body)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
