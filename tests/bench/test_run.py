"""The whole ``python -m bench``, on loopback: a second's work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import result, runner
from bench.contestant import Contestant
from bench.peers import all_peers
from bench.result import Run
from bench.scenarios import QUICK
from bench.where.loopback import loopback

RUN = ["run", "--where", "loopback", "--rounds", "2", "--warm-ups", "1", "--seed", "3"]
TWO = ["--modes", "udpft", "--modes", "Python sendfile"]
SMALL = ["--size", "200000", "--mtu", "9000"]


def test_a_run_leaves_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*RUN, *TWO, *SMALL, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr()
    for name in ("report.html", "summary.md", "run.json"):
        assert (tmp_path / name).exists()
        assert str(tmp_path / name) in said.err
    run = result.read(tmp_path)
    assert not run.interrupted
    assert (tmp_path / "summary.md").read_text() in said.out
    turns = [(s.warm_up, s.round, s.mode) for s in run.samples]
    assert len(turns) == len(set(turns)) == 6
    assert not any(s.error for s in run.samples)
    assert run.trace
    assert run.environment["kernel"]


def test_an_interrupted_run_reports_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Contestant.fetch

    def until_the_fourth(one: Contestant, *args: int, warm_up: bool) -> result.Sample:
        fetched.append(1)
        if len(fetched) == 4:
            raise KeyboardInterrupt
        return fetch(one, *args, warm_up=warm_up)

    fetched: list[int] = []
    monkeypatch.setattr(Contestant, "fetch", until_the_fourth)
    assert command.main([*RUN, *TWO, *SMALL, "--output", str(tmp_path)]) == 130
    run = result.read(tmp_path)
    assert run.interrupted
    assert len(run.samples) == 3
    assert "interrupted" in (tmp_path / "summary.md").read_text()


@contextmanager
def planned(names: list[str], *labels: str, rounds: int = 1) -> Iterator[tuple[Run, list[Run]]]:
    """A run of some quick scenarios on loopback, and all that was kept of it."""
    peers = [peer for peer in all_peers() if peer.label in labels]
    with loopback() as ground, ground.join(QUICK[0]) as joined:
        start = Run(
            stamp="now",
            where="loopback",
            quick=True,
            seed=1,
            rounds=rounds,
            warm_ups=1,
            seconds_each=1.0,
            environment={},
            modes=runner.modes_of(peers, joined.client, "loopback"),
            scenarios=tuple(s for s in QUICK if s.name in names),
        )
        kept: list[Run] = []
        yield runner.measure(start, peers, ground, kept.append), kept


def test_what_cannot_be_had_is_told_and_the_rest_goes_on() -> None:
    with planned(["loss-1%", "size-1KiB"], "udpft") as (run, kept):
        assert "neither loss" in run.skipped["loss-1%"]
        assert [s.scenario for s in run.samples] == ["size-1KiB"] * 2
        assert kept[-1] == run


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--modes", "ftp"], "no mode is called 'ftp'"),
        (["--only", "nothing"], "no scenario is called so"),
    ],
)
def test_wrong_words_are_told_before_anything_starts(
    words: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*RUN, *words, "--output", str(tmp_path / "none")]) == 1
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_what_ran_while_the_machine_stood_still_is_run_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was seen then is kept, without a figure, and is nobody's failure."""
    fetch = Contestant.fetch

    def stalled_first(one: Contestant, *args: int, warm_up: bool) -> result.Sample:
        sample = fetch(one, *args, warm_up=warm_up)
        if warm_up or stalls:
            return sample
        stalls.append(1)
        return replace(sample, error="the machine stood still for 40 s")

    stalls: list[int] = []
    monkeypatch.setattr(Contestant, "fetch", stalled_first)
    with planned(["size-1KiB"], "udpft") as (run, _):
        counted = [s for s in run.samples if not s.warm_up]
    assert [bool(s.error) for s in counted] == [True, False]
    assert [s.round for s in counted] == [0, 0]


@pytest.mark.parametrize(("planned_s", "rounds"), [(0.0, 3), (1e9, 5)])
def test_a_slow_machine_makes_fewer_rounds_and_at_least_three(
    monkeypatch: pytest.MonkeyPatch, planned_s: float, rounds: int
) -> None:
    monkeypatch.setattr(runner, "planned_s", lambda *_: planned_s)
    with planned(["size-1KiB"], "udpft", rounds=5) as (run, _):
        assert sum(not s.warm_up for s in run.samples) == rounds
