"""Progress on a terminal, in a log, for programs; by a clock that the test moves."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios

import pytest

from tests.cli.processes import PATIENCE_S
from udpft.cli.output.progress import Meter


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_elsewhere_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Meter("big\x1b", "auto", clock=clock) as meter:
        for second in range(1, 36):  # at 1 MB/s
            clock.now += 1
            meter.update(second * 1_000_000, 100_000_000)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        r"big\x1b: 10 MB of 100 MB, 10 %, 1 MB/s (8 Mbit/s), 90 s left",
        r"big\x1b: 20 MB of 100 MB, 20 %, 1 MB/s (8 Mbit/s), 80 s left",
        r"big\x1b: 30 MB of 100 MB, 30 %, 1 MB/s (8 Mbit/s), 70 s left",
    ]


def test_a_total_that_is_not_known_is_not_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Meter("big", "line", clock=clock) as meter:
        clock.now += 10
        meter.update(2_000_000, -1)
        clock.now += 35  # nobody called meanwhile: one line, not three
        meter.update(2_000_000, -1)
    assert capsys.readouterr().err.splitlines() == [
        "big: 2 MB, 200 kB/s (1.6 Mbit/s)",
        "big: 2 MB, waiting for the other end, 35 s",
    ]


def test_for_programs_an_object_each_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Meter("big", "json", clock=clock) as meter:
        for quarter in range(1, 12):
            clock.now += 0.25
            meter.update(quarter * 250_000, 100_000_000)
        clock.now += 1
        meter.update(4_000_000, -1)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["progress"] * 3
    assert [event["total_bytes"] for event in events] == [100_000_000] * 2 + [None]
    assert [event["bytes"] for event in events] == [1_000_000, 2_000_000, 4_000_000]
    assert events[0]["name"] == "big"
    assert events[0]["rate_bytes_per_s"] == 1_000_000


def test_what_was_sent_again_is_told_where_there_was_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock, share = Clock(), 0.0
    with Meter("big", "line", lambda: share, clock=clock) as meter:
        for share in (0.0001, 0.0123):  # noqa: B007  # the meter looks
            clock.now += 10
            meter.update(1_000_000, -1)
    first, second = capsys.readouterr().err.splitlines()
    assert "resent" not in first
    assert second.endswith(", 1.2 % resent")
    with Meter("big", "json", lambda: 0.25, clock=clock) as meter:
        clock.now += 1
        meter.update(1, 2)
    assert json.loads(capsys.readouterr().out)["resent_share"] == 0.25


def test_of_a_tree_files_are_counted_too(capsys: pytest.CaptureFixture[str]) -> None:
    clock, counts = Clock(), (12, 300)
    with Meter("tree", "line", file_counts=lambda: counts, clock=clock) as meter:
        clock.now += 10
        meter.update(10_000_000, 100_000_000)
    line = "tree: 10 MB of 100 MB, 10 %, 12 of 300 files, 1 MB/s (8 Mbit/s), 90 s left\n"
    assert capsys.readouterr().err == line
    with Meter("tree", "json", file_counts=lambda: counts, clock=clock) as meter:
        clock.now += 1
        meter.update(1, 2)
    event = json.loads(capsys.readouterr().out)
    assert (event["files"], event["total_files"]) == (12, 300)
    with Meter("tree", "bar", file_counts=lambda: counts) as meter:
        meter.update(1_000_000, 4_000_000)
        meter.update(2_000_000, 4_000_000)
        meter._bar.refresh()
    assert "12 of 300 files" in capsys.readouterr().err


def test_none_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Meter("big", "none", clock=clock) as meter:
        clock.now += 1000
        meter.update(1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_transfer_that_is_over_at_once_needs_no_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # to import it would fail
    with Meter("small", "bar") as meter:
        meter.update(10, 10)
    assert capsys.readouterr() == ("", "")


def test_a_bar_moves_and_goes_away(capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("big\x1b[2J", "bar") as meter:
        meter.update(1_000_000, 4_000_000)
        meter.update(2_000_000, 4_000_000)
        assert meter._bar.n == 2_000_000
    err = capsys.readouterr().err
    assert r"big\x1b[2J:  25%" in err
    assert "1.00M/4.00M" in err
    assert err.split("\r")[-2].strip() == ""
    assert "\x1b[2J" not in err


def test_a_bar_says_how_fast_how_long_and_what_was_resent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with Meter("a-rather-long-name-of-a-file.iso", "bar", lambda: 0.031) as meter:
        meter.update(0, 4_000_000_000)
        meter._bar.start_t -= 10
        meter.update(1_000_000_000, 4_000_000_000)
        meter._bar.refresh()
    shown = capsys.readouterr().err.split("\r")[-3]
    assert shown.startswith("…-name-of-a-file.iso:  25%|")
    assert "1.00G/4.00GB, 00:3" in shown
    assert " left, 1" in shown or " left, 9" in shown
    assert "MB/s (" in shown
    assert "bit/s), 3.1 % resent" in shown
    assert len(shown) <= 100


def test_a_bar_without_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("big", "bar") as meter:
        meter.update(1_000_000, -1)
    assert "big: 1.00MB" in capsys.readouterr().err


def test_a_terminal_gets_a_bar() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    script = (
        "from udpft.cli.output.progress import Meter\n"
        "with Meter('big', 'auto') as meter:\n"
        "    meter.update(1_000_000, 4_000_000)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            more = os.read(ours, 65_536)
        except OSError:  # EIO: the last of the other side is gone
            break
        if not more:
            break
        shown += more
    os.close(ours)
    assert process.wait(PATIENCE_S) == 0
    assert b"big:  25%|" in shown
