"""A run as Markdown: what goes into a pull request, and into the README."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.report import verdict
from bench.report.words import path, rate
from bench.result import Run


def summary(run: Run) -> str:
    """The verdict, one table of ratios, and what the figures stand on."""
    parts = [f"# udpft, measured {run.stamp}"]
    parts += verdict.sentences(run)
    for scenario in (s for s in run.scenarios if s.group in ("lan", "custom")):
        parts.append(f"## {scenario.name}: {path(scenario)}\n\n{_by_mode(run, scenario.name)}")
    parts.append(f"## Ratios to {run.reference}\n\n{_ratios(run)}")
    parts.append(verdict.setting(run))
    return "\n\n".join(parts) + "\n"


def _by_mode(run: Run, name: str) -> str:
    body = [
        [
            row.mode,
            row.rate_text,
            row.ratio_text,
            f"{row.cpu_s_per_gb:.2f}" if row.rate else "–",
            f"{row.rss_bytes / 1e6:.0f}" if row.rss_bytes else "–",
            row.note,
        ]
        for row in verdict.rows(run, run.scenario(name))
    ]
    head = ["mode", "median", f"÷ {run.reference}", "CPU s/GB", "RSS, MB", ""]
    return table(head, body)


def _ratios(run: Run) -> str:
    """A line for each scenario, a column for each mode that ran in more than one of them."""
    by_scenario = {s.name: {r.mode: r for r in verdict.rows(run, s)} for s in run.scenarios}
    labels = []
    for mode in run.modes:
        mine = [every[mode.label] for every in by_scenario.values() if mode.label in every]
        if mode.label != run.reference and sum(bool(row.ratio) for row in mine) > 1:
            labels.append(mode.label)
    body = []
    for scenario in run.scenarios:
        cells = [scenario.name]
        for label in labels:
            row = by_scenario[scenario.name].get(label)
            words = [f"{row.ratio.median:.2f}"] if row and row.ratio else []
            words += ["failed"] if row and row.note.startswith("failed") else []
            cells.append(", ".join(words))
        cells.append(verdict.proof_text(run, scenario))
        body.append(cells)
    return table(["scenario", *labels, "the path"], body)


def readme(run: Run) -> str:
    """The README's figures: a few sentences and one table."""
    found = verdict.verdicts(run)
    body = [
        [
            path(v.scenario),
            rate(v.subject_rate),
            rate(v.reference_rate),
            f"{v.ratio.median:.2f} ({v.ratio.low:.2f} to {v.ratio.high:.2f})",
        ]
        for v in found
    ]
    return "\n\n".join(
        [
            next(iter(verdict.sentences(run))),
            table(["what is fetched", run.subject, run.reference, "ratio, by round"], body),
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
