"""Strangers at a server: each does its harm, others are measured, and bounds are told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import strangers
from bench.strangers import MAX_LEFT_BYTES, STRANGERS, Harm, Noticed, main
from udpft.protocol.params import MIN_DATAGRAM_SIZE

FINE = Noticed("nobody", 5, 0.001, 0.002, 3, 0, 30 << 20, 31 << 20, 30 << 20, 0.0)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, []),
        ({"ping_median_s": 0.051}, ["median"]),
        ({"ping_worst_s": 0.251}, ["worst"]),
        ({"rss_after": (30 << 20) + MAX_LEFT_BYTES + 1}, ["memory"]),
        ({"fetches_failed": 1}, ["fetches"]),
        ({"fetches": 0}, ["fetches"]),
    ],
)
def test_bounds_that_were_passed_are_named(change: dict[str, float], passed: list[str]) -> None:
    noticed = FINE._replace(**change)  # type: ignore[arg-type]
    assert noticed.passed() == passed
    assert noticed.line().endswith(" ".join(passed) or "ok")


def test_a_hello_is_as_large_as_a_server_asks() -> None:
    assert strangers.HELLO_BYTES >= MIN_DATAGRAM_SIZE


@pytest.fixture(scope="module")
def harm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harm]:
    folder = tmp_path_factory.mktemp("served")
    strangers.prepare(folder, 300, 1 << 20, b"content")
    with strangers.serving(folder) as (harm, _):
        yield harm


@pytest.mark.parametrize("name", STRANGERS)
def test_each_stranger_goes_on_doing_harm(name: str, harm: Harm) -> None:
    stranger = STRANGERS[name](harm)
    for _ in range(3):
        next(stranger)
    stranger.close()  # type: ignore[attr-defined]


def test_what_others_notice_comes_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--files", "10", "--large", "1", "--seconds", "0.5", "--settle", "0"]
    main([*small, "--folder", str(tmp_path), "--only", "hellos", "--json"])
    noticed = json.loads(capsys.readouterr().out)
    assert noticed["stranger"] == "hellos"
    assert noticed["done"] > 0
    assert noticed["fetches"] + noticed["fetches_failed"] > 0
    assert 0 < noticed["ping_median_s"] <= noticed["ping_worst_s"]
    assert 0 < noticed["rss_before"] <= noticed["rss_most"]
    assert os.listdir(tmp_path) == []
