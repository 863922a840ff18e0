"""Resumed fetches: real processes and sockets, killed and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import udpft
from tests.cli.processes import PATIENCE_S, Server, environment
from tests.faults import file_size_limit
from tests.samples import LARGE, sample
from tests.storage.conftest import names
from udpft.api import RunningServer
from udpft.cli.main import run
from udpft.errors import (
    DestinationExists,
    LocalWriteFailed,
    NoSuchFile,
    PortClosed,
    SourceChanged,
    Stopped,
)
from udpft.outcome.served import Served
from udpft.protocol.params import CHUNK_SIZE
from udpft.storage.destination import Destination
from udpft.storage.journal import Journal

PART = ".out.udpft-part"
HINT = "run the same command again to resume"


class Enough(Exception):
    """Raised out of a fetch when enough of the file is here."""


def interrupt(*_: object) -> None:
    """Ctrl-C, wherever it is called."""
    raise KeyboardInterrupt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to serve, with one file that may be changed."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "file").write_bytes(sample(LARGE))
    (tmp_path / "here").mkdir()
    return served


@pytest.fixture
def out(folder: Path) -> Path:
    """Where the file goes: in a folder of its own."""
    return folder.parent / "here" / "out"


@pytest.fixture
def slow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    """A server that takes a second or so for the file, and waits for nobody at its end."""
    monkeypatch.setattr("udpft.server.server.DRAIN_S", 0)
    with udpft.serve(folder, port=0, max_rate=6_000_000) as running:
        yield running


def break_off(server: RunningServer, out: Path, share: float = 0.4, **options: int) -> int:
    """Fetch a part of the file; return the bytes that were here at the end, at least."""
    reached = 0

    def stop(done: int, total: int) -> None:
        nonlocal reached
        if done > share * total:
            reached = done
            raise Enough

    with pytest.raises(Enough):
        udpft.get("file", server=server.address, output=out, progress=stop, **options)  # type: ignore[arg-type]
    assert names(out.parent)[0] == PART
    return reached


# --------------------------------------------------------------------------------- the next fetch


def test_only_what_is_missing_is_fetched(slow: RunningServer, out: Path, folder: Path) -> None:
    here = break_off(slow, out)
    served: list[Served] = []
    with udpft.serve(folder, port=0, on_served=served.append) as other:  # and another server's
        result = udpft.get("file", server=other.address, output=out)
    assert out.read_bytes() == sample(LARGE)
    assert here <= result.resumed_bytes < LARGE
    assert served[0].bytes_sent < 1.1 * (LARGE - here)
    assert names(out.parent) == ["out"]


@pytest.mark.parametrize("chunk_size", [64, 1000, 16_344])
def test_chunks_may_have_another_size_now(slow: RunningServer, out: Path, chunk_size: int) -> None:
    here = break_off(slow, out)
    result = udpft.get("file", server=slow.address, output=out, chunk_size=chunk_size)
    assert out.read_bytes() == sample(LARGE)
    assert result.chunk_size == chunk_size
    assert result.resumed_bytes > here - 2 * chunk_size


def test_it_may_be_broken_off_again_and_again(slow: RunningServer, out: Path) -> None:
    for share, chunk_size in ((0.2, 2048), (0.4, 2048), (0.6, 1024), (0.8, 1024)):
        break_off(slow, out, share, chunk_size=chunk_size)
    result = udpft.get("file", server=slow.address, output=out)
    assert out.read_bytes() == sample(LARGE)
    assert result.resumed_bytes > 0.7 * LARGE


def test_chunks_that_the_disk_spoiled_are_fetched_again(slow: RunningServer, out: Path) -> None:
    here = break_off(slow, out)
    with (out.parent / PART).open("r+b") as part:
        for at in (0, 100_000, 1_000_000):
            part.seek(at)
            part.write(b"spoiled")
    result = udpft.get("file", server=slow.address, output=out)
    assert out.read_bytes() == sample(LARGE)
    assert here - 4 * CHUNK_SIZE < result.resumed_bytes < LARGE


@pytest.mark.parametrize("damage", ["journal", "all", "shorter", "empty"])
def test_a_part_that_tells_nothing_is_fetched_anew(
    slow: RunningServer, out: Path, damage: str
) -> None:
    break_off(slow, out)
    part = out.parent / PART
    if damage == "journal":
        with part.open("r+b") as file:
            file.seek(-20, os.SEEK_END)
            file.write(b"garbled")
    else:
        content = {"all": os.urandom(LARGE), "shorter": part.read_bytes()[:-1], "empty": b""}
        part.write_bytes(content[damage])
    assert udpft.get("file", server=slow.address, output=out).resumed_bytes == 0
    assert out.read_bytes() == sample(LARGE)


def test_another_file_at_the_source_is_fetched_anew(
    slow: RunningServer, out: Path, folder: Path
) -> None:
    break_off(slow, out)
    (folder / "new").write_bytes(sample(LARGE)[::-1])
    (folder / "new").rename(folder / "file")
    assert udpft.get("file", server=slow.address, output=out).resumed_bytes == 0
    assert out.read_bytes() == sample(LARGE)[::-1]


def test_without_resume_the_part_is_thrown_away(slow: RunningServer, out: Path) -> None:
    break_off(slow, out)
    address = slow.address
    slow.stop()
    with pytest.raises(PortClosed):
        udpft.get("file", server=address, output=out, resume=False)
    assert names(out.parent) == []


def test_an_interrupt_while_it_is_checked_leaves_it(
    slow: RunningServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(slow, out)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "check", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            udpft.get("file", server=slow.address, output=out)
    assert caught.value.__notes__ == [HINT]
    assert udpft.get("file", server=slow.address, output=out).resumed_bytes > 0


@pytest.mark.parametrize("resume", [True, False])
def test_on_the_command_line(
    slow: RunningServer, out: Path, capsys: pytest.CaptureFixture[str], resume: bool
) -> None:
    break_off(slow, out)
    arguments = ["get", "file", "-s", slow.address, "-o", str(out)]
    assert run(arguments if resume else [*arguments, "--no-resume"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].endswith("verified")
    assert [" resumed at " in line for line in lines] == [True, False][-len(lines) :]
    assert len(lines) == 1 + resume
    assert out.read_bytes() == sample(LARGE)


def test_the_old_file_stays_until_a_forced_fetch_is_whole(slow: RunningServer, out: Path) -> None:
    out.write_bytes(b"old")
    break_off(slow, out, force=True)
    assert out.read_bytes() == b"old"
    with pytest.raises(DestinationExists):
        udpft.get("file", server=slow.address, output=out)
    assert names(out.parent) == [PART, "out"]
    assert udpft.get("file", server=slow.address, output=out, force=True).resumed_bytes > 0
    assert out.read_bytes() == sample(LARGE)


def test_the_check_of_a_part_can_be_stopped_and_keeps_it(slow: RunningServer, out: Path) -> None:
    here = break_off(slow, out)
    stop = udpft.Stop()
    stop.set()
    with pytest.raises(Stopped) as caught:
        Destination(out, force=False, stop=stop)
    assert caught.value.hint == HINT
    assert names(out.parent) == [PART]
    assert udpft.get("file", server=slow.address, output=out).resumed_bytes >= here


# -------------------------------------------------------------------------------- what is kept


def test_a_part_outlives_a_server_that_cannot_help(
    slow: RunningServer, out: Path, folder: Path
) -> None:
    break_off(slow, out)
    (folder / "file").rename(folder / "elsewhere")
    with pytest.raises(NoSuchFile) as refused:
        udpft.get("file", server=slow.address, output=out)
    assert HINT not in refused.value.hint
    slow.stop()
    with pytest.raises(PortClosed) as closed:
        udpft.get("file", server=slow.address, output=out)
    assert closed.value.hint.endswith(HINT)
    assert names(out.parent) == [PART]


def test_what_is_small_leaves_nothing(slow: RunningServer, out: Path, folder: Path) -> None:
    (folder / "small").write_bytes(sample(4096) * 100)

    def interrupt(_done: int, _total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        udpft.get(
            "small", server=slow.address, output=out, progress=interrupt, limit_rate=1_000_000
        )
    assert names(out.parent) == []


def test_a_source_that_is_written_to_inside_fails_and_leaves_what_came(
    slow: RunningServer, out: Path, folder: Path
) -> None:
    def write(*_: int) -> None:
        with (folder / "file").open("r+b") as file:
            file.write(b"another beginning")

    with pytest.raises(SourceChanged) as caught:
        udpft.get("file", server=slow.address, output=out, progress=write)
    assert "nothing writes to it" in caught.value.hint
    assert names(out.parent) == [".out.udpft-part"]


def test_a_source_whose_times_change_is_as_it_was(
    slow: RunningServer, out: Path, folder: Path
) -> None:
    udpft.get(
        "file", server=slow.address, output=out, progress=lambda *_: os.utime(folder / "file")
    )
    assert out.read_bytes() == (folder / "file").read_bytes()


def test_a_disk_that_fills_up_leaves_what_it_took(slow: RunningServer, out: Path) -> None:
    def fill_up(_done: int, _total: int) -> None:
        limit.enter_context(file_size_limit(500_000))

    with ExitStack() as limit, pytest.raises(LocalWriteFailed) as caught:
        udpft.get("file", server=slow.address, output=out, progress=fill_up)
    assert caught.value.hint.endswith(HINT)
    assert udpft.get("file", server=slow.address, output=out).resumed_bytes > 100_000
    assert out.read_bytes() == sample(LARGE)


def test_two_fetches_of_one_destination(slow: RunningServer, out: Path) -> None:
    told: list[str] = []

    def second(_done: int, _total: int) -> None:
        if not told:
            with pytest.raises(LocalWriteFailed, match="another get is writing") as caught:
                udpft.get("file", server=slow.address, output=out)
            told.append(caught.value.hint)

    udpft.get("file", server=slow.address, output=out, progress=second)
    assert told == ["wait for it, or choose another place with --output"]
    assert out.read_bytes() == sample(LARGE)


# ------------------------------------------------------------------------------- real processes


def start_get(address: str, out: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "udpft", "get", "file", "-s", address, "-o", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def fetch_again(address: str, out: Path) -> dict[str, object]:
    process = start_get(address, out, "--json")
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    done: dict[str, object] = json.loads(stdout.splitlines()[-1])["files"][0]
    assert done["ok"]
    assert (b"resumed at" in stderr) == bool(done["resumed_bytes"] and not done["up_to_date"])
    return done


def wait_for_chunk(part: Path, chunk: int) -> None:
    """Wait until a chunk stands in a part's journal, as the file shows it from outside."""
    at = -(-LARGE // 4096) * 4096 + 8 * chunk
    until = time.monotonic() + PATIENCE_S
    while not part.exists() or part.read_bytes()[at : at + 8] in (b"", bytes(8)):
        assert time.monotonic() < until, "it does not come that far"
        time.sleep(0.01)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_a_killed_get_is_gone_on_with(slow: RunningServer, out: Path, share: float) -> None:
    out.write_bytes(b"old")
    process = start_get(slow.address, out, "--force")
    wait_for_chunk(out.parent / PART, int(share * LARGE / CHUNK_SIZE))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    assert out.read_bytes() in (b"old", sample(LARGE))
    if out.read_bytes() == b"old":
        out.unlink()
    done = fetch_again(slow.address, out)
    assert out.read_bytes() == sample(LARGE)
    assert names(out.parent) == ["out"]
    assert int(str(done["resumed_bytes"])) >= (share - 0.01) * LARGE


def test_a_server_killed_and_started_again_is_gone_on_with(folder: Path, out: Path) -> None:
    with Server("serve", str(folder), "--max-rate", "6M") as first:
        process = start_get(first.address, out, "--json")
        wait_for_chunk(out.parent / PART, 500)
        first.stop(signal.SIGKILL)
        served: list[Served] = []
        with udpft.serve(folder, port=first.port, on_served=served.append):
            stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    assert out.read_bytes() == sample(LARGE)
    assert json.loads(stdout.splitlines()[-1])["files"][0]["resumed_bytes"] == 0
    assert served[-1].bytes_sent < 1.1 * (LARGE - 400 * CHUNK_SIZE)
