"""``udpft trace``: pages of traces, and what is no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trace.test_model import conversation
from tests.trace.test_page import lines_of
from udpft.cli.main import run
from udpft.errors import ExitCode


@pytest.fixture
def traces(tmp_path: Path) -> list[str]:
    paths = []
    for name, end in zip(("client", "server"), conversation(), strict=True):
        path = tmp_path / f"{name}.sqlog"
        path.write_bytes(lines_of(end).read())
        paths.append(str(path))
    return paths


@pytest.mark.parametrize("count", [1, 2])
def test_it_makes_a_page_of_one_end_or_both(
    traces: list[str], tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "t.html"
    assert run(["trace", *traces[:count], "-o", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert ("seen by the client and the server" in text) is (count == 2)
    assert str(page) in capsys.readouterr().err


def test_what_is_no_trace_is_told(
    traces: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, other = tmp_path / "t.html", tmp_path / "notes.txt"
    other.write_text("notes\n")
    for arguments, code, words in (
        ([str(other), "-o", str(page)], ExitCode.USAGE, "no trace"),
        ([*traces, *traces, "-o", str(page)], ExitCode.USAGE, "two ends"),
        ([str(tmp_path / "none"), "-o", str(page)], ExitCode.READ_FAILED, "cannot read"),
        ([traces[0], "-o", str(tmp_path / "no" / "t.html")], ExitCode.WRITE_FAILED, "cannot write"),
    ):
        assert run(["trace", *arguments]) == code
        assert words in capsys.readouterr().err
    assert not page.exists()
