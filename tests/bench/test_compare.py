"""Comparison of two runs: changes beyond the noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import compare, result
from bench.__main__ import main
from bench.result import Run
from tests.bench.runs import LAN, run


def slowed(factor: float) -> Run:
    """The run, with an udpft that takes longer."""
    return replace(
        run(),
        samples=tuple(
            replace(s, seconds=s.seconds * factor) if s.mode.startswith("udpft") else s
            for s in run().samples
        ),
    )


def real(old: Run, new: Run) -> set[tuple[str, str]]:
    return {(c.scenario, c.mode) for c in compare.changes(old, new) if c.is_real}


def test_a_run_does_not_differ_from_itself() -> None:
    assert real(run(), run()) == set()


def test_what_is_within_the_noise_is_not_marked() -> None:
    assert (LAN.name, "udpft") not in real(run(), slowed(1.02))


def test_what_is_beyond_it_is() -> None:
    changed = real(run(), slowed(2))
    assert (LAN.name, "udpft") in changed
    assert {mode for _, mode in changed} == {"udpft", "udpft again"}
    assert "**slower**" in compare.table(compare.changes(run(), slowed(2)))
    assert "**faster**" in compare.table(compare.changes(run(), slowed(0.5)))


def test_a_machine_that_is_slower_today_is_not_udpft_s_fault() -> None:
    """Ratios to TCP stay what they were; TCP itself is marked."""
    slower = replace(run(), samples=tuple(replace(s, seconds=s.seconds * 2) for s in run().samples))
    assert {mode for _, mode in real(run(), slower)} == {"nginx + curl"}
    assert compare.verdict(compare.changes(run(), slower), fail_above=0.05) == 0


def test_without_a_reference_rates_are_compared() -> None:
    alone = [
        replace(one, samples=tuple(s for s in one.samples if s.mode != "nginx + curl"))
        for one in (run(), slowed(2))
    ]
    assert (LAN.name, "udpft") in real(*alone)
    assert {change.figure for change in compare.changes(*alone)} == {"rate"}


def test_a_mode_that_fails_now_is_broken() -> None:
    broken = replace(
        run(),
        samples=tuple(
            replace(s, error="exit 1") if s.mode == "nginx + curl" else s for s in run().samples
        ),
    )
    assert (LAN.name, "nginx + curl") in real(run(), broken)
    assert "**broken**" in compare.table(compare.changes(run(), broken))


def test_a_scenario_that_was_changed_is_another_one() -> None:
    other = replace(run(), scenarios=(replace(LAN, size_bytes=1),))
    assert compare.changes(run(), other) == []
    assert "no scenario and mode in common" in compare.table([])


@pytest.mark.parametrize(
    ("factor", "words", "status"),
    [(2.0, [], 0), (2.0, ["--fail-above", "5%"], 1), (2.0, ["--fail-above", "60%"], 0)],
)
def test_the_command_fails_above_what_is_allowed(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    factor: float,
    words: list[str],
    status: int,
) -> None:
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, one in zip(paths, (run(), slowed(factor)), strict=True):
        result.write(one, path)
    assert main(["compare", *map(str, paths), *words]) == status
    assert "changed by more than the noise" in capsys.readouterr().out


def test_a_file_that_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("bench: no run.json of version 1")
