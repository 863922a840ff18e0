"""Speed of a path: rows measured, rows left out and why, and files left behind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import udpft
from udpft.api import RunningServer, connect
from udpft.client.client import Client
from udpft.diagnosis import speed
from udpft.diagnosis.speed import Plan, Row, measure, timed_rounds
from udpft.errors import (
    Denied,
    DestinationExists,
    LocalWriteFailed,
    NoSuchFile,
    PartialTransfer,
    PortClosed,
    UsageError,
)
from udpft.outcome.result import Result
from udpft.outcome.served import Served
from udpft.protocol.params import MAX_MEASURED_BYTES
from udpft.protocol.server import session_creation
from udpft.protocol.wire.hello import Role

SIZE = 300_000
LARGE = 250_000

WAYS = [
    ("memory", "down", "reliable"),
    ("memory", "down", "plain"),
    ("memory", "up", "reliable"),
    ("file", "down", "reliable"),
    ("file", "down", "plain"),
    ("file", "up", "reliable"),
]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A folder with something to fetch in it."""
    folder = tmp_path / "served"
    (folder / "sub").mkdir(parents=True)
    (folder / "large").write_bytes(bytes(LARGE))
    (folder / "small").write_bytes(b"little")
    (folder / "too large").write_bytes(bytes(3 * SIZE + 1))
    (folder / "sub/deep").write_bytes(b"deep")
    return folder


@pytest.fixture
def writable(served: Path) -> Iterator[RunningServer]:
    with udpft.serve(served, port=0, writable=True) as running:
        yield running


@pytest.fixture
def writer(writable: RunningServer) -> Iterator[Client]:
    with connect(writable.address) as client:
        yield client


@pytest.fixture
def by_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds are as long as they are said to be, however busy the machine, and long its answers."""
    monkeypatch.setattr(speed, "_ROUND_TRIPS", 0)


def plan(tmp_path: Path, **changes: object) -> Plan:
    folder = tmp_path / "temporary"
    folder.mkdir(exist_ok=True)
    return Plan(time_s=0.2, size=SIZE, rounds=3, folder=folder)._replace(**changes)  # type: ignore[arg-type]


def way(row: Row) -> tuple[str, str, str]:
    return row.what, row.direction, row.mode


def row_of(rows: list[Row], *wanted: str) -> Row:
    [row] = [row for row in rows if way(row) == wanted]
    return row


# ----------------------------------------------------------------------------- what is measured


def test_every_way_has_its_row(writer: Client, served: Path, tmp_path: Path) -> None:
    rows = list(measure(writer, plan(tmp_path, put_as="brought")))
    assert [way(row) for row in rows] == WAYS
    measured = [row for row in rows if not row.missing]
    assert [way(row) for row in rows if row.missing] == [("memory", "down", "plain")]
    for row in measured:
        assert len(row.results) == 3
        assert row.rate_bytes_per_s > 0
        assert 0 < row.rtt_s < 1
        assert all(one.verified == (row.mode == "reliable") for one in row.results)
    memory = [one.bytes for row in rows if row.what == "memory" for one in row.results]
    assert memory == [SIZE] * 6
    fetched = row_of(rows, "file", "down", "reliable")
    assert [(one.name, one.bytes) for one in fetched.results] == [("large", LARGE)] * 3
    assert fetched.note == ""
    assert (served / "brought").stat().st_size == SIZE
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_server_tells_of_it_as_of_no_file(served: Path, tmp_path: Path) -> None:
    told: list[Served] = []
    with (
        udpft.serve(served, port=0, writable=True, on_served=told.append) as server,
        connect(server.address) as client,
    ):
        list(measure(client, plan(tmp_path, rounds=1)))
    memory = [(one.bytes, one.bytes_received) for one in told if one.name == "(memory)"]
    assert memory == [(SIZE, None), (SIZE, None), (SIZE, SIZE), (SIZE, SIZE)]
    assert sorted(path.name for path in served.iterdir()) == ["large", "small", "sub", "too large"]


def test_a_file_may_be_named(writer: Client, tmp_path: Path) -> None:
    rows = list(measure(writer, plan(tmp_path, name="sub/deep")))
    for mode in ("reliable", "plain"):
        results = row_of(rows, "file", "down", mode).results
        assert [(one.name, one.bytes) for one in results] == [("sub/deep", 4)] * 3


def test_with_a_key(served: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("5a" * 31 + "a5")
    with (
        udpft.serve(served, port=0, writable=True, key_file=key_file) as server,
        connect(server.address, key_file=key_file) as client,
    ):
        rows = list(measure(client, plan(tmp_path, put_as="brought")))
    missing = {way(row): row.missing for row in rows if row.missing}
    assert missing == {
        ("memory", "down", "plain"): "plain knows nothing but files",
        ("file", "down", "plain"): "plain knows no keys",
    }


@pytest.mark.usefixtures("by_time_alone")
def test_a_file_that_takes_longer_is_fetched_once(served: Path, tmp_path: Path) -> None:
    with (
        udpft.serve(served, port=0, max_rate=2_000_000) as server,
        connect(server.address) as client,
    ):
        rows = list(measure(client, plan(tmp_path, name="large", time_s=0.003, size=1)))
    assert len(row_of(rows, "file", "down", "reliable").results) == 1


@pytest.mark.usefixtures("by_time_alone")
def test_plain_is_broken_off_when_its_time_is_over(served: Path, tmp_path: Path) -> None:
    told: list[Served] = []
    with (
        udpft.serve(served, port=0, plain_rate=500_000, on_served=told.append) as server,
        connect(server.address) as client,
    ):
        rows = list(measure(client, plan(tmp_path, time_s=0.1, rounds=1, name="too large")))
    plain = row_of(rows, "file", "down", "plain")
    assert [one.complete for one in plain.results] == [False]
    assert 0 < plain.results[0].bytes < 3 * SIZE
    assert plain.note == "paced by --plain-rate"
    assert {type(one.error) for one in told if one.mode == "plain"} == {PartialTransfer}


# --------------------------------------------------------------------------- what is not, and why


def test_a_server_that_takes_no_uploads(served: Path, tmp_path: Path) -> None:
    with udpft.serve(served, port=0) as server, connect(server.address) as client:
        rows = list(measure(client, plan(tmp_path)))
    for what in ("memory", "file"):
        up = row_of(rows, what, "up", "reliable")
        assert (up.missing, up.results) == ("the server takes no uploads", ())
    assert row_of(rows, "memory", "down", "reliable").results


def test_a_server_older_than_this(
    writer: Client, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [role for role in Role if role not in (Role.MEASURE, Role.MEASURE_PUT)]
    monkeypatch.setattr(session_creation, "_ROLES", known)
    rows = list(measure(writer, plan(tmp_path, put_as="brought")))
    for direction in ("down", "up"):
        missing = row_of(rows, "memory", direction, "reliable").missing
        assert missing == "the server is too old to be measured from memory"
        assert row_of(rows, "file", direction, "reliable").results
    assert (served / "brought").stat().st_size == SIZE


def test_nothing_is_brought_unless_it_has_a_name(writer: Client, tmp_path: Path) -> None:
    rows = list(measure(writer, plan(tmp_path)))
    assert "--put-as NAME" in row_of(rows, "file", "up", "reliable").missing


def test_a_server_that_serves_no_plain(served: Path, tmp_path: Path) -> None:
    with (
        udpft.serve(served, port=0, plain="never") as server,
        connect(server.address, connect_timeout=0.2) as client,
    ):
        rows = list(measure(client, plan(tmp_path)))
    assert "no plain is served" in row_of(rows, "file", "down", "plain").missing


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "no file in"), (bytes(3 * SIZE + 1), "of up to 900 kB")]
)
def test_no_file_that_would_do(tmp_path: Path, content: bytes, why: str) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file").write_bytes(content)
    with udpft.serve(folder, port=0) as server, connect(server.address) as client:
        rows = list(measure(client, plan(tmp_path)))
    for mode in ("reliable", "plain"):
        row = row_of(rows, "file", "down", mode)
        assert why in row.missing
        assert "--name" in row.missing


# ------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("name", ["sub", "*"])
def test_what_is_named_is_one_file(name: str, writer: Client, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a single file"):
        next(measure(writer, plan(tmp_path, name=name)))


def test_what_is_named_is_there(writer: Client, tmp_path: Path) -> None:
    with pytest.raises(NoSuchFile):
        next(measure(writer, plan(tmp_path, name="nothing")))


def test_nothing_that_is_there_is_replaced(writer: Client, served: Path, tmp_path: Path) -> None:
    with pytest.raises(DestinationExists) as caught:
        next(measure(writer, plan(tmp_path, put_as="large")))
    assert "--put-as" in caught.value.hint
    assert (served / "large").read_bytes() == bytes(LARGE)


def test_what_came_meanwhile_is_not_replaced(writer: Client, served: Path, tmp_path: Path) -> None:
    rows = measure(writer, plan(tmp_path, put_as="brought"))
    next(rows)
    (served / "brought").write_bytes(b"another's")
    with pytest.raises(DestinationExists):
        list(rows)
    assert (served / "brought").read_bytes() == b"another's"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_folder_that_is_not_there(writer: Client, tmp_path: Path) -> None:
    with pytest.raises(LocalWriteFailed) as caught:
        next(measure(writer, plan(tmp_path, folder=tmp_path / "nowhere")))
    assert "--dir" in caught.value.hint


def test_more_than_a_server_gives(writer: Client, tmp_path: Path) -> None:
    with pytest.raises(Denied):
        list(measure(writer, plan(tmp_path, size=MAX_MEASURED_BYTES + 1)))


def test_a_server_that_goes(served: Path, tmp_path: Path) -> None:
    with udpft.serve(served, port=0) as server, connect(server.address) as client:
        rows = measure(client, plan(tmp_path))
        next(rows)
        server.stop()
        with pytest.raises(PortClosed):
            list(rows)
    assert list((tmp_path / "temporary").iterdir()) == []


# ------------------------------------------------------------------------------------ how much


def done(size: int, seconds: float) -> Result:
    return Result("", "", size, seconds, "", 0, "reliable", verified=True)


@pytest.mark.parametrize("rate", [1e4, 1e6, 1e8, 1e10])
@pytest.mark.parametrize("start_s", [0.0, 0.01, 0.2])
def test_rounds_are_about_as_long_as_they_should_be(rate: float, start_s: float) -> None:
    tried: list[int] = []

    def run(size: int) -> Result:
        tried.append(size)
        return done(size, start_s + size / rate)

    rounds = timed_rounds(run, 1.0, 3)
    assert [one.bytes for one in rounds] == tried[-3:]
    assert all(one.seconds >= 0.5 for one in rounds)
    assert all(one.seconds <= 1.2 or one.bytes == tried[0] for one in rounds)
    assert len(tried) <= 10
    assert all(before <= after <= 8 * before for before, after in pairwise(tried))


def test_a_slow_beginning_does_not_make_all_rounds_short() -> None:
    slow = iter([0.6])  # something was lost in the first handshake

    def run(size: int) -> Result:
        return done(size, next(slow, 0.0) + size / 1e8)

    first, *others = timed_rounds(run, 1.0, 3)
    assert first.bytes == 65_536
    assert all(0.5 <= one.seconds <= 1.2 for one in others)


def test_no_round_is_larger_than_servers_allow() -> None:
    rounds = timed_rounds(lambda size: done(size, size / 1e15), 1.0, 3)
    assert [one.bytes for one in rounds] == [MAX_MEASURED_BYTES] * 3


def test_a_row_is_the_median_of_its_rounds() -> None:
    one = done(1_000_000, 1.0)
    three = tuple(one._replace(seconds=seconds) for seconds in (1.0, 2.0, 10.0))
    measured = Row("memory", "down", "reliable", three)
    assert measured.rate_bytes_per_s == 500_000
    assert measured.resent_share == 0.0
    assert Row("memory", "down", "reliable").rate_bytes_per_s == 0.0
