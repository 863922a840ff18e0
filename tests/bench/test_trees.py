"""Trees of many files: that they are made, compared and measured as the script says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.trees import SHAPES, main, make_tree, same


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tree_has_its_shape(tmp_path: Path, shape: str) -> None:
    make_tree(tmp_path / "t", shape, 400)
    files = [path for path in (tmp_path / "t").rglob("*") if path.is_file()]
    assert len(files) == 400
    assert len({path.read_bytes() for path in files}) == 400
    depths = {len(path.relative_to(tmp_path / "t").parts) for path in files}
    assert max(depths) == {"many": 2, "folder": 1, "deep": 201, "long": 2}[shape]
    assert {len(path.name) for path in files} == {255 if shape == "long" else 6}


def test_trees_are_compared_by_contents_times_and_permissions(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").touch()
        for path in (tmp_path / name / "f", tmp_path / name):
            os.utime(path, ns=(number, number))
    one, other = tmp_path / "one", tmp_path / "other"
    assert not same(one, other)  # the times

    def be_alike(text: str) -> None:
        for path in (one / "f", other / "f"):
            path.write_text(text)
            path.chmod(0o644)
            os.utime(path, ns=(1, 1))

    be_alike("x")
    assert same(one, other)
    (one / "f").chmod(0o600)
    assert not same(one, other)
    be_alike("x")
    (one / "g").touch()
    assert not same(one, other)


def test_each_transfer_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["40", "--folder", str(tmp_path)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["transfer"] for one in lines] == ["get -r"] * 2 + ["put -r"] * 2
    for figures in lines:
        assert (figures["files"], figures["exit_code"], figures["exact"]) == (40, 0, True)
        assert figures["pings_failed"] == 0
        assert figures["server_peak_mb"] > 0
    assert list(tmp_path.iterdir()) == []
