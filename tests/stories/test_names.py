"""Names of files are bytes: they travel as what they are, whatever the locales are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, environment, run_udpft
from udpft.api import RunningServer

LATIN = os.fsdecode(b"caf\xe9")
JAPANESE = os.fsdecode(b"\xe6\xbc\xa2")

LOCALES = [
    {},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.fixture
def server(stored: Path) -> Iterator[RunningServer]:
    (stored / "tree").mkdir()
    for name in (LATIN, JAPANESE):
        for folder in (stored, stored / "tree"):
            (folder / name).write_text("content")
    with udpft.serve(stored, port=0, writable=True) as server:
        yield server


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: locale.get("LC_ALL", "ours"))
@pytest.mark.parametrize("name", [LATIN, JAPANESE], ids=ascii)
def test_a_name_travels_as_the_bytes_that_it_is(
    server: RunningServer, stored: Path, tmp_path: Path, name: str, locale: dict[str, str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for arguments in (
        ["get", name, "-o", f"{out}/"],
        ["get", "-r", "tree", "-o", str(out)],
        ["get", name, "--mode", "plain", "-o", str(out / f"plain{name}")],
        ["put", str(stored / name), "--as", "up/"],
        ["put", "-r", str(stored / "tree"), "--as", "trees/"],
        ["ls", name],
    ):
        done = run_udpft(*arguments, "-s", server.address, variables=locale)
        assert done.returncode == 0, done.stderr
    for place in (out, out / "tree", stored / "up", stored / "trees" / "tree"):
        assert (place / name).read_text() == "content"
    assert (out / f"plain{name}").read_text() == "content"


def test_one_that_is_not_there_is_told_as_such(server: RunningServer) -> None:
    missing = os.fsdecode(b"caf\xe8")
    with pytest.raises(udpft.errors.NoSuchFile, match="no such file on the server"):
        udpft.get(missing, server=server.address)
    assert udpft.list_files(LATIN, server=server.address)[0].path == LATIN


def test_a_program_in_another_locale_serves_them_and_is_told_what_it_cannot_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / JAPANESE).write_text("content")
    script = (
        "import udpft\n"
        "with udpft.serve('served', port=0) as server:\n"
        "    for pattern in ('', '\\u6f22', '*'):\n"
        "        entry, = udpft.list_files(pattern, server=server)\n"
        "        assert entry.path == '\\u6f22', ascii(entry.path)\n"
        "    assert udpft.read_bytes(entry.path, server=server) == b'content'\n"
        "    udpft.get(entry.path, server=server, output='copy')\n"
        "    try:\n"
        "        udpft.get(entry.path, server=server)\n"
        "    except udpft.errors.LocalWriteFailed:\n"
        "        print('told')\n"
        "    try:\n"
        "        udpft.get(entry.path, server=server, recursive=True)\n"
        "    except udpft.errors.LocalWriteFailed:\n"
        "        print('told')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(Path(udpft.__file__).parents[1]), **LOCALES[1]),
    )
    assert done.stdout == "told\ntold\n", done.stderr
