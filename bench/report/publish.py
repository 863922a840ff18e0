"""Publication of a run in the documents: ``docs/benchmarks/``, and the README's figures."""

from __future__ import annotations

from pathlib import Path

from bench import result
from bench.report import chart, html, markdown
from bench.result import Run

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "benchmarks"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def publish(run: Run) -> None:
    """Write the run, its summary, page and chart to the documents, its figures to the README."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    result.write(run, FOLDER / "run.json")
    (FOLDER / "summary.md").write_text(markdown.summary(run))
    (FOLDER / "report.html").write_text(html.page(run))
    for name, theme in chart.THEMES.items():
        (FOLDER / f"chart-{name}.svg").write_text(chart.chart(run, theme))
    README.write_text(with_figures(README.read_text(), run))


def with_figures(text: str, run: Run) -> str:
    """A page with the figures between its two marks replaced; raises ValueError without marks."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{markdown.readme(run)}\n{END}{tail}"
