"""Report of a run as one HTML page that loads nothing else: no network, no fonts, no script."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from bench.report import chart, plots, verdict
from bench.report.words import path, ratio, when
from bench.result import Run


def page(run: Run) -> str:
    """``report.html``."""
    environment = Environment(
        loader=PackageLoader("bench.report", "."),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("template.html")
    return template.render(
        run=run,
        when=when(run.stamp),
        place=verdict.PLACES[run.where],
        sentences=verdict.sentences(run),
        setting=verdict.setting(run),
        matrix=_matrix(run),
        pictures=[(picture, Markup(picture.svg)) for picture in _pictures(run)],
        scenarios=[
            {
                "name": scenario.name,
                "path": path(scenario),
                "proof": verdict.proof_text(run, scenario),
                "rows": verdict.rows(run, scenario),
            }
            for scenario in run.scenarios
        ],
    )


def _pictures(run: Run) -> list[plots.Picture]:
    whole = chart.picture(run)
    return [*([whole] if whole else []), *plots.pictures(run)]


def _matrix(run: Run) -> dict[str, Any]:
    """The table of ratios: scenarios down, modes across."""
    by_scenario = {s.name: {r.mode: r for r in verdict.rows(run, s)} for s in run.scenarios}
    ran = {label for found in by_scenario.values() for label in found}
    modes = [m for m in run.modes if m.label in ran - {run.reference} and m.kind != "ceiling"]
    return {
        "modes": [mode.label for mode in modes],
        "lines": [
            (name, [_cell(found.get(mode.label)) for mode in modes])
            for name, found in by_scenario.items()
        ],
    }


def _cell(row: verdict.Row | None) -> tuple[str, str]:
    """Text and class of a cell: ``up`` and ``down`` where the whole interval is beyond 1."""
    if row is None:
        return "", ""
    if row.ratio is None:
        return ("failed", "down") if row.note.startswith("failed") else (row.note and "–", "")
    tone = "up" if row.ratio.low > 1 else "down" if row.ratio.high < 1 else ""
    return ratio(row.ratio.median), tone
