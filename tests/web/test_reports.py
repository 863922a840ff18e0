"""Reports on the page: those of its folders, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trace.test_model import conversation
from tests.trace.test_page import lines_of
from tests.web.visitor import Visitor, text_of
from udpft.web import reports as module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    (folder / "old").mkdir(parents=True)
    (folder / "old/report.html").write_text("<style>p {}</style><p>a report</p>")
    (folder / "t.sqlog").write_bytes(lines_of(conversation()[0]).read())
    (folder / "notes.txt").write_text("no report")
    (tmp_path / "secret.html").write_text("secret")
    (folder / "link.html").symlink_to(tmp_path / "secret.html")
    return folder


@pytest.fixture
def reader(folder: Path) -> Iterator[Visitor]:
    with Visitor(reports=(folder,)) as visitor:
        visitor.open()
        yield visitor


def test_reports_and_traces_are_listed_and_shown(reader: Visitor) -> None:
    text = text_of(reader.see("/reports"))
    assert "reports/old/report.html report" in text
    assert "reports/t.sqlog trace" in text
    assert "notes.txt" not in text
    assert "a report" in reader.see("/reports/file?name=reports%2Fold%2Freport.html")
    assert "HELLO" in reader.see("/reports/file?name=reports/t.sqlog")


@pytest.mark.parametrize(
    "name", ["", "reports/link.html", "../secret.html", "reports/../secret.html", "/etc/passwd"]
)
def test_no_other_file_is_shown(reader: Visitor, name: str) -> None:
    assert "secret" not in reader.see(f"/reports/file?name={name}", 404)
    assert "link.html" not in reader.see("/reports")


def test_one_that_is_too_large_is_not_read(
    reader: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REPORT_BYTES", 10)
    assert "more than 10 B" in text_of(reader.see("/reports/file?name=reports/t.sqlog", 413))


def test_what_is_no_trace_is_told(reader: Visitor, folder: Path) -> None:
    (folder / "bad.sqlog").write_text("hello\n")
    assert "No trace" in text_of(reader.see("/reports/file?name=reports/bad.sqlog", 500))


def test_without_any_it_is_said_how_to_make_one() -> None:
    with Visitor() as visitor:
        visitor.open()
        assert "udpft web --reports DIR" in text_of(visitor.see("/reports"))
