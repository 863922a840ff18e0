"""Reports of a run: the verdict, Markdown, the HTML page and its pictures."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import result
from bench.report import chart, html, markdown, plots, publish, verdict
from bench.result import Run, Sample
from tests.bench.runs import LAN, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> str:
    return html.page(run())


@pytest.fixture(scope="module")
def published() -> Run:
    return result.read(publish.FOLDER)


class Elements(HTMLParser):
    """All elements of a page: name and attributes, and that they close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in {"meta", "link", "br", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class TestVerdict:
    def test_it_says_where_udpft_loses_before_it_says_where_it_wins(self) -> None:
        said = " ".join(verdict.sentences(run()))
        assert "slower in 1, faster in 1, no difference beyond the noise in 2" in said
        assert said.index("It loses: lan-9000 at 0.50 ×") < said.index("It wins: loss-1% at 5.")
        assert ", 500 MB/s against 1" in said

    def test_failures_have_no_figure_and_are_told(self) -> None:
        said = " ".join(verdict.sentences(run()))
        assert "3 counted runs failed, without a figure: aioquic (lan-9000)." in said
        rows = {row.mode: row for row in verdict.rows(run(), LAN)}
        assert rows["aioquic"].rate is None
        assert rows["aioquic"].note == "failed 3 of 3: exit 1: <b>no</b>"
        assert rows["udpft keyed"].note == "not there yet"
        assert rows["uftp"].note == "not installed: uftp"

    def test_a_failure_while_warming_up_is_told_where_nothing_came_after(self) -> None:
        broken = Sample(LAN.name, "aioquic", 0, 1.0, 100, warm_up=True, error="exit 28: no answer")
        rows = verdict.rows(replace(run(), samples=(broken,)), LAN)
        [row] = [row for row in rows if row.mode == "aioquic"]
        assert row.note == "failed 1 of 1: exit 28: no answer"

    def test_the_same_mode_twice_agrees_with_itself_or_it_is_told(self) -> None:
        said = " ".join(verdict.sentences(run()))
        assert "the intervals of the two medians overlap in 1 of 1 scenario" in said
        other = [
            replace(s, seconds=s.seconds * 2) if s.mode == "udpft again" else s
            for s in run().samples
        ]
        said = " ".join(verdict.sentences(replace(run(), samples=tuple(other))))
        assert "overlap in 0 of 1 scenario, and in nine of ten they are no more than 98%" in said

    def test_a_machine_that_was_busy_with_other_things_is_told_of(self) -> None:
        assert "busy" not in verdict.setting(run())
        busy = tuple(replace(proof, busy_processors=0.43) for proof in run().proofs)
        said = verdict.setting(replace(run(), proofs=busy))
        assert "busy with other things: they took 0.4 processors." in said

    def test_an_interrupted_run_says_so_first(self) -> None:
        cut = replace(run(), interrupted=True, samples=run().samples[:7])
        assert verdict.sentences(cut)[0].startswith("The run was interrupted")

    def test_a_run_without_a_reference_has_nothing_to_compare(self) -> None:
        alone = [s for s in run().samples if s.mode == "udpft"]
        assert "Nothing to compare" in verdict.sentences(replace(run(), samples=tuple(alone)))[0]

    def test_a_difference_within_the_noise_is_none(self) -> None:
        noisy = [
            replace(s, seconds=s.seconds * (4 if s.round else 1)) if s.mode == "udpft again" else s
            for s in run().samples
        ]
        assert not any(v.is_loss for v in verdict.verdicts(replace(run(), samples=tuple(noisy))))

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("loss-1%", "emulator: 1.03% of 40,000 datagrams lost, round trip 20.5 ms: as asked"),
            ("loss-0%", "emulator: round trip 30.1 ms: NOT AS ASKED"),
            ("lan-9000", "round trip 0.05 ms; not impaired"),
            ("size-1GiB", "no room for it in memory"),
        ],
    )
    def test_an_impairment_is_proven_or_its_want_is_told(self, name: str, words: str) -> None:
        assert verdict.proof_text(run(), run().scenario(name)) == words


class TestMarkdown:
    def test_the_summary_has_every_scenario_and_its_tables_are_whole(self) -> None:
        text = markdown.summary(run())
        for scenario in run().scenarios:
            assert f"| {scenario.name} |" in text or f"## {scenario.name}" in text
        for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
            widths = {line.count("|") for line in block.splitlines()}
            assert len(widths) == 1, block

    def test_it_fits_in_a_pull_request(self) -> None:
        assert len(markdown.summary(run())) < 10_000


class TestPage:
    def test_it_needs_nothing_from_anywhere(self, page: str) -> None:
        assert "://" not in page
        for _, attributes in Elements(page).found:
            links = [attributes.get(name, "#") for name in ("src", "href", "srcset")]
            assert all(link.startswith("#") for link in links)
        assert "<script" not in page

    def test_every_element_closes_and_every_id_is_one(self, page: str) -> None:
        elements = Elements(page)
        assert elements.open == []
        ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
        assert len(ids) == len(set(ids))
        for used in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
            assert used in ids

    def test_what_programs_said_is_escaped(self, page: str) -> None:
        assert "<b>no</b>" not in page
        assert "&lt;b&gt;no&lt;/b&gt;" in page
        assert "2 × a &lt;fast&gt; one" in page

    def test_every_picture_says_what_it_shows(self, page: str) -> None:
        pictures = [a for _, a in Elements(page).found if a.get("role") == "img"]
        assert len(pictures) == 6  # chart, lan, loss, clients, cpu, trace
        assert all(re.search(r"\d", one["aria-label"]) for one in pictures)

    def test_it_is_readable_in_the_dark_and_on_paper(self, page: str) -> None:
        assert "prefers-color-scheme: dark" in page
        assert "@media print" in page
        assert 'name="viewport"' in page

    def test_the_same_run_makes_the_same_page(self, page: str) -> None:
        assert html.page(run()) == page


class TestPictures:
    def test_ink_and_grid_are_the_page_s(self, page: str) -> None:
        for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
            assert "currentColor" in svg
            assert plots.INK not in svg
            assert plots.GRID not in svg

    def test_a_run_of_failures_draws_what_it_can(self) -> None:
        failed = tuple(replace(s, error="exit 1") for s in run().samples)
        names = {picture.name for picture in plots.pictures(replace(run(), samples=failed))}
        assert names == {"throughput-lan-9000", "trace"}

    def test_without_samples_there_are_no_pictures(self) -> None:
        assert plots.pictures(replace(run(), samples=(), trace=None)) == []


@pytest.fixture(scope="module", params=list(chart.THEMES))
def theme(request: pytest.FixtureRequest) -> chart.Theme:
    return chart.THEMES[str(request.param)]


class TestChart:
    def test_it_is_a_picture_with_a_ground_of_its_own(self, theme: chart.Theme) -> None:
        svg = chart.chart(run(), theme)
        ElementTree.fromstring(svg)
        fills = re.findall(r"fill: (#\w+)", svg)
        assert fills[0] == theme.paper
        assert theme.ink in fills
        assert "currentColor" not in svg

    def test_it_needs_nothing_from_anywhere(self, theme: chart.Theme) -> None:
        svg = chart.chart(run(), theme)
        assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', svg))

    def test_it_is_told_in_words(self) -> None:
        words = chart.alt(run())
        assert words.startswith(
            "MB/s of udpft and of nginx + curl, medians: lan-9000 500 and 1,000"
        )
        assert all(v.scenario.name in words for v in verdict.verdicts(run()))

    def test_the_readme_shows_both(self) -> None:
        text = markdown.readme(run())
        for name in chart.THEMES:
            assert f'"docs/benchmarks/chart-{name}.svg"' in text
            assert (publish.FOLDER / f"chart-{name}.svg").exists()


def test_publishing_writes_all_that_the_documents_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n")
    monkeypatch.setattr(publish, "FOLDER", tmp_path / "docs")
    monkeypatch.setattr(publish, "README", readme)
    publish.publish(run())
    written = {path.name for path in (tmp_path / "docs").iterdir()}
    assert written == {"run.json", "summary.md", "report.html", "chart-light.svg", "chart-dark.svg"}
    assert markdown.readme(run()) in readme.read_text()
    assert "old" not in readme.read_text()
    assert readme.read_text().startswith("# before\n")
    assert readme.read_text().endswith("\nafter\n")


class TestPublished:
    """What is committed in docs/benchmarks, and the README, are of one run."""

    def test_the_readme_s_figures_are_the_run_s(self, published: Run) -> None:
        text = publish.README.read_text()
        assert publish.with_figures(text, published) == text

    def test_the_summary_is_the_run_s(self, published: Run) -> None:
        assert (publish.FOLDER / "summary.md").read_text() == markdown.summary(published)

    def test_every_file_was_verified(self, published: Run) -> None:
        moved = [s for s in published.samples if published.mode(s.mode).kind != "ceiling"]
        assert moved
        assert all(s.verified for s in moved if not s.error)

    def test_the_run_is_small_enough_to_keep(self) -> None:
        assert (publish.FOLDER / "run.json").stat().st_size < 600_000

    def test_its_impairments_took_place(self, published: Run) -> None:
        for proof in published.proofs:
            scenario = published.scenario(proof.scenario)
            assert proof.holds_for(scenario), proof
