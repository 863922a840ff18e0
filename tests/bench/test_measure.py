"""Measurement of commands: their time, and the processor time charged to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.measure import busy_processors, cpu_seconds, peak_rss_bytes, process_tree, run_together


def test_a_failing_command_tells_its_exit_and_its_words() -> None:
    [result] = run_together([["ls", "/nonexistent"]], timeout_s=30)
    assert result.error.startswith("exit 2: ls: ")


def test_a_command_that_takes_too_long_is_killed() -> None:
    [result] = run_together([["sleep", "1000"]], timeout_s=0.05)
    assert result.error == "not done after 0.05 s"


def test_processor_time_is_the_command_s_own() -> None:
    busy = "import time\nwhile time.process_time() < 0.1: pass"
    [result] = run_together([[sys.executable, "-c", busy]], timeout_s=30)
    assert 0.1 <= result.cpu_s < 5


def test_commands_run_side_by_side(tmp_path: Path) -> None:
    """Each waits for what the other makes."""
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    wait = "touch $0; until [ -e $1 ]; do sleep 0.01; done; echo met"
    commands = [["sh", "-c", wait, one, two], ["sh", "-c", wait, two, one]]
    results = run_together(commands, timeout_s=30)
    assert [(r.error, r.output) for r in results] == [("", "met"), ("", "met")]


def test_a_file_that_is_not_there_needs_no_sync(tmp_path: Path) -> None:
    [result] = run_together([["true"]], 30, outputs=[tmp_path / "none"])
    assert result.error == ""


def test_a_machine_that_stands_still_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its clock: two looks at it lie far apart."""
    clock = iter([0.0, 0.01])
    monkeypatch.setattr("bench.measure.time.perf_counter", lambda: next(clock, 40.0))
    [result] = run_together([["true"]], timeout_s=30)
    assert result.stall_s > 39


def test_a_machine_at_work_is_seen() -> None:
    """By a process that does nothing else, on whichever processor is free for it."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert 0 < busy_processors(0.1) <= 1.2 * (os.cpu_count() or 1)
    finally:
        busy.kill()
        busy.wait()


def test_this_process_has_a_tree_memory_and_processor_time() -> None:
    assert os.getpid() in process_tree(os.getpid())
    assert peak_rss_bytes(os.getpid()) > 10**6
    assert cpu_seconds(os.getpid()) > 0
