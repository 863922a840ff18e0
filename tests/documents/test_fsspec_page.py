"""docs/fsspec.md: its examples print what it says, and fsspec finds the file system by itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, environment
from tests.documents.test_documents import ROOT
from udpft.api import RunningServer

pytest.importorskip("fsspec", reason="the extra `fsspec` brings it")

PAGE = (ROOT / "docs/fsspec.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```\n", PAGE, re.M | re.S)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of the tables that the page tells of; the second as far as it can be made."""
    (tmp_path / "files/data").mkdir(parents=True)
    table = tmp_path / "files/data/table.csv"
    table.write_text("city,people\nSvolvaer,1\nBergen,2\n")
    other = table.with_suffix(".parquet")
    years = tmp_path / "files/years"
    years.mkdir()
    for number in (1, 2, 3):
        (years / f"{number}.csv").write_text(f"year,people\n{2020 + number},{11 * number}\n")
    try:
        import pandas

        for one in (table, *years.glob("*.csv")):
            pandas.read_csv(one).to_parquet(one.with_suffix(".parquet"))
    except ImportError:
        other.write_bytes(b"PAR1")
    with udpft.serve(tmp_path / "files", port=0) as server:
        yield server


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that says of udpft what an installed one does: which entry points it has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = tmp_path / "installed/udpft-0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: udpft\nVersion: 0\n")
    lines = [f"[{group}]" for group in project["entry-points"]]
    assert lines == ["[fsspec.specs]"]
    lines += [
        f"{name} = {where}" for name, where in project["entry-points"]["fsspec.specs"].items()
    ]
    (told / "entry_points.txt").write_text("\n".join(lines))
    return told.parent


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") == 5


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=map(str, range(len(EXAMPLES))))
def test_an_example_prints_what_is_shown(
    served: RunningServer, installed: Path, tmp_path: Path, code: str, shown: str
) -> None:
    for package in ("pandas", "pyarrow", "distributed"):
        if package in code:
            pytest.importorskip(package, reason="the extra `dataframes` brings it")
    code = code.replace(", port=9000", "").replace(":9000/", "/")
    code = code.replace('"localhost"', f'"localhost", port={served.port}')
    code = code.replace("//localhost/", f"//localhost:{served.port}/")
    if "from pyarrow import dataset" in code:
        # Its threads abort some processes at their exit that read through Python, whoever's files.
        code += "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)"
    finished = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-W", "error::ResourceWarning", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE_S,
        env=environment(PYTHONPATH=f"{installed}:{ROOT}"),
    )
    assert (finished.stdout, finished.stderr) == (shown, "")
    assert finished.returncode == 0
