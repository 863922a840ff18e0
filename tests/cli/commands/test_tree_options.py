"""Options of trees: the order of rules, and that they are of trees alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import udpft
from udpft.cli.main import run


@pytest.fixture
def served(tmp_path: Path) -> Path:
    for name in ("t/a.txt", "t/b.txt", "t/c.tmp", "t/sub/d.tmp"):
        (tmp_path / "served" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "served" / name).write_text(name)
    return tmp_path / "served"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--exclude", "*.tmp"], ["a.txt", "b.txt"]),
        (["--include=c.tmp", "--exclude", "*.tmp"], ["a.txt", "b.txt", "c.tmp"]),
        (["--exclude", "*.tmp", "--include=c.tmp"], ["a.txt", "b.txt"]),
        (["--exclude=/t/b.txt", "--exclude", "sub/"], ["a.txt", "c.tmp"]),
    ],
)
def test_the_order_of_rules_counts(
    served: Path, tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    with udpft.serve(served, port=0) as server:
        code = run(["get", "-r", "t", *words, "-s", server.address, "-o", str(tmp_path / "out")])
    assert code == 0
    found = (path for path in (tmp_path / "out/t").rglob("*") if path.is_file())
    assert sorted(str(path.relative_to(tmp_path / "out/t")) for path in found) == expected


@pytest.mark.parametrize("words", [["--exclude", "x"], ["--links"], ["--dry-run"], ["--checksum"]])
def test_they_are_of_trees(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["get", "file", *words]) == 2
    assert "are of trees" in capsys.readouterr().err
    assert run(["put", __file__, *words]) == 2
    assert "are of trees" in capsys.readouterr().err


def test_a_pattern_has_to_follow(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["get", "-r", "t", "--exclude"]) == 2
    assert "requires an argument" in capsys.readouterr().err
