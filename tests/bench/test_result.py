"""Results and their files: everything is read back, and other files are refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench import result
from bench.result import InvalidRun, Proof, Run, Sample
from tests.bench.runs import LOSSY, run


def test_a_run_comes_back_from_its_file(tmp_path: Path) -> None:
    result.write(run(), tmp_path / "run.json")
    back = result.read(tmp_path)
    assert result.to_json(back) == result.to_json(run())
    assert replace(back, samples=()) == replace(run(), samples=())
    assert [s.mode for s in back.samples] == [s.mode for s in run().samples]
    assert list(tmp_path.iterdir()) == [tmp_path / "run.json"]


def test_a_sample_is_a_line_and_holds_no_defaults() -> None:
    lines = result.to_json(run()).splitlines()
    rows = [line for line in lines if '"seconds"' in line]
    assert len(rows) == len(run().samples)
    assert not any('"error": ""' in row or '"warm_up": false' in row for row in rows)


@pytest.mark.parametrize("kind", [Run, Sample, Proof])
def test_the_schema_knows_every_field(kind: type) -> None:
    schema = json.loads(result.SCHEMA_FILE.read_text())
    form = schema if kind is Run else schema["$defs"][kind.__name__.lower()]
    assert set(form["properties"]) - {"schema"} == {one.name for one in fields(kind)}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"samples": [{"mode": "udpft"}]},
        {"where": "the moon"},
        {"surprise": 1},
        {"scenarios": [{"name": "a", "group": "lan", "size_bytes": -1}]},
    ],
)
def test_what_differs_from_the_schema_is_refused(change: dict[str, object]) -> None:
    document = json.loads(result.to_json(run())) | change
    with pytest.raises(InvalidRun):
        result.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_no_run_is_refused(text: str) -> None:
    with pytest.raises(InvalidRun, match="version 1"):
        result.from_json(text)


@pytest.mark.parametrize(
    ("loss", "rtt_s", "holds"),
    [(0.0101, 0.0203, True), (0.013, 0.02, False), (0.0, 0.02, False), (0.01, 0.04, False)],
)
def test_an_impairment_is_proven_within_a_fifth(loss: float, rtt_s: float, holds: bool) -> None:
    assert Proof(LOSSY.name, "emulator", 40_000, loss, rtt_s, 1.01).holds_for(LOSSY) is holds


def test_losing_batches_is_not_losing_datagrams() -> None:
    assert not Proof(LOSSY.name, "firewall", 40_000, 0.0101, 0.0203, 32.0).holds_for(LOSSY)
