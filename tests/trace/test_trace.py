"""Traces of real transfers: each datagram is there as it was, and what was lost is marked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from threading import Thread

import pytest
from jsonschema import Draft202012Validator

from tests.contrib.capture import dissect, needs_tshark
from tests.trace.files import (
    captured_in,
    events_in,
    header_in,
    named,
    named_packet,
    numbers_of,
    packets_of,
)
from udpft.client.client import Client
from udpft.errors import LocalWriteFailed, UsageError
from udpft.keys import new_key_file
from udpft.server.server import Server
from udpft.testing.link import LossyLink, Seen
from udpft.trace.trace import Trace

SIZE = 700_000
# Bytes that fit whole in a socket's buffer of 208 KiB, so that no busy relay loses a datagram.
SMALL = 60_000


class Traced:
    """Server of a folder with a trace, and the client's, with a relay between that notes all."""

    def __init__(self, folder: Path, key_file: Path | None = None, loss: float = 0.0) -> None:
        self.folder = folder
        self.served = folder / "served"
        self.served.mkdir()
        self.key_file = key_file
        self.loss = loss
        self.seen: list[Seen] = []

    def files(self, side: str) -> list[Path]:
        return [self.folder / f"{side}.sqlog", self.folder / f"{side}.pcapng"]

    def run(self, transfer: Callable[[Client], object]) -> None:
        """Run a transfer from its beginning to its end, at both ends."""
        with Trace(self.files("server"), "server") as theirs:
            server = Server(
                self.served,
                port=0,
                writable=True,
                key_file=self.key_file,
                trace=theirs,
                plain="never" if self.key_file else "always",
            )
            thread = Thread(target=server.run)
            thread.start()
            try:
                address = f"127.0.0.1:{server.port}"
                with (
                    LossyLink(address, loss=self.loss, seed=5, watch=self.seen.append) as link,
                    Trace(self.files("client"), "client") as ours,
                    Client(link.address, key_file=self.key_file, trace=ours) as client,
                ):
                    transfer(client)
                    server.stop(5)
                    thread.join()  # it has got all that the relay has passed on
            finally:
                server.stop(0)
                thread.join()
                server.close()

    def passed(self, *, from_client: bool, lost: bool) -> list[bytes]:
        """Datagrams that came to the relay from one side; ``lost``: those lost as well."""
        return [
            one.datagram
            for one in self.seen
            if one.from_client is from_client and (lost or not one.lost)
        ]


@pytest.fixture(params=[0.0, 0.05], ids=["no loss", "5 % lost"])
def traced(tmp_path: Path, request: pytest.FixtureRequest) -> Traced:
    made = Traced(tmp_path, loss=request.param)
    (made.served / "small").write_bytes(Random(1).randbytes(SMALL))
    return made


def fetch(client: Client, folder: Path) -> None:
    client.fetch("x", str(folder / "out"))
    assert (folder / "out").read_bytes() == Random(1).randbytes(SIZE)


def fetch_small(client: Client, folder: Path) -> None:
    for number in range(10):
        client.fetch("small", str(folder / f"out{number}"))


def by_side(path: Path, *, client_is_source: bool, port: int) -> list[bytes]:
    found = captured_in(path)
    assert found == sorted(found, key=lambda one: one.at_us)
    return [one.payload for one in found if (one.source == port) is client_is_source]


def same_but_for_the_end(found: Sequence[object], relay: Sequence[object]) -> None:
    """Compare with the relay's. What comes to an end that has left already, it does not get."""
    assert found == relay[: len(found)]
    assert len(found) >= len(relay) - 4


def test_a_capture_has_each_datagram_that_the_relay_saw_in_order(traced: Traced) -> None:
    traced.run(lambda client: fetch_small(client, traced.folder))
    for side, is_client in (("client", True), ("server", False)):
        path = traced.files(side)[1]
        # The first datagram tells the port: it is the client's HELLO, at either end.
        port = captured_in(path)[0].source
        from_client = by_side(path, client_is_source=True, port=port)
        from_server = by_side(path, client_is_source=False, port=port)
        same_but_for_the_end(from_client, traced.passed(from_client=True, lost=is_client))
        same_but_for_the_end(from_server, traced.passed(from_client=False, lost=not is_client))


def test_events_have_each_packet_that_the_relay_saw_in_order(traced: Traced) -> None:
    traced.run(lambda client: fetch_small(client, traced.folder))
    for side, is_client in (("client", True), ("server", False)):
        path = traced.files(side)[0]
        events = events_in(path)
        assert header_in(path)["trace"]["vantage_point"] == {"type": side}
        times = [event["time"] for event in events]
        assert times == sorted(times)
        sent = packets_of(named(events, "transport:packet_sent"))
        received = packets_of(named(events, "transport:packet_received"))
        told = {True: sent, False: received}
        for from_client in (True, False):
            of_relay = traced.passed(from_client=from_client, lost=from_client is is_client)
            expected = [named_packet(one) for one in of_relay]
            same_but_for_the_end(told[from_client is is_client], expected)


def test_what_the_relay_lost_is_marked_as_lost_at_both_ends(tmp_path: Path) -> None:
    """A busy machine may lose more in a socket's buffer, or be late: what arrived tells."""
    traced = Traced(tmp_path, loss=0.05)
    (traced.served / "x").write_bytes(Random(1).randbytes(SIZE))
    traced.run(lambda client: fetch(client, traced.folder))
    theirs, ours = (events_in(traced.files(side)[0]) for side in ("server", "client"))
    sent = set(numbers_of(named(theirs, "transport:packet_sent")))
    arrived = set(numbers_of(named(ours, "transport:packet_received")))
    missed = set(range(max(arrived))) - arrived  # of later ones nobody hears
    data = [one for one in traced.seen if one.datagram[0] == 0x84 and one.lost]
    lost = {named_packet(one.datagram) for one in data} & missed
    assert len(lost) > 5
    marked = numbers_of(named(theirs, "transport:packet_lost"))
    assert lost <= set(marked) <= sent
    assert len(marked) == len(set(marked))
    # Numbers that were skipped look like lost ones to a receiver.
    assert sorted(numbers_of(named(ours, "transport:packet_lost"))) == sorted(missed)


SCHEMA = json.loads((Path(__file__).parents[2] / "docs/traces.schema.json").read_text())


@pytest.mark.parametrize("mode", ["reliable", "plain"])
def test_each_record_is_what_the_schema_says(tmp_path: Path, mode: str) -> None:
    traced = Traced(tmp_path, loss=0.05 if mode == "reliable" else 0.0)
    (traced.served / "x").write_bytes(Random(1).randbytes(SIZE))
    out = str(tmp_path / "out")
    if mode == "plain":
        traced.run(lambda client: client.fetch_plain("x", out))
    else:
        traced.run(lambda client: client.fetch("x", out))
    validator = Draft202012Validator(SCHEMA)
    for side in ("client", "server"):
        path = traced.files(side)[0]
        for record in [header_in(path), *events_in(path)]:
            assert list(validator.iter_errors(record)) == [], record


def test_both_ends_give_a_transfer_the_same_name(tmp_path: Path) -> None:
    traced = Traced(tmp_path)
    (traced.served / "x").write_bytes(b"1")
    traced.run(lambda client: client.fetch("x", str(tmp_path / "out")))
    groups = [
        {event["group_id"] for event in events_in(traced.files(side)[0])}
        for side in ("client", "server")
    ]
    assert groups[0] == groups[1]
    [group] = groups[0]
    assert len(group) == 16


def test_the_controller_shows_its_figures_and_phases(tmp_path: Path) -> None:
    traced = Traced(tmp_path)
    (traced.served / "x").write_bytes(bytes(SIZE))
    traced.run(lambda client: client.fetch("x", str(tmp_path / "out")))
    events = events_in(traced.files("server")[0])
    first = next(named(events, "recovery:metrics_updated"))
    assert first["congestion_window"] > 0
    assert first["smoothed_rtt"] > 0
    assert next(named(events, "recovery:congestion_state_updated"))["new"] == "startup"


def test_an_upload_is_traced_as_a_download_is(tmp_path: Path) -> None:
    traced = Traced(tmp_path, loss=0.05)
    (tmp_path / "y").write_bytes(Random(2).randbytes(SIZE))
    traced.run(lambda client: client.store(str(tmp_path / "y")))
    events = events_in(traced.files("client")[0])
    lost = {
        named_packet(one.datagram) for one in traced.seen if one.lost and one.datagram[0] == 0x84
    }
    assert {*numbers_of(named(events, "transport:packet_lost"))} <= lost
    assert next(named(events, "recovery:metrics_updated"))["congestion_window"] > 0
    sent = packets_of(named(events, "transport:packet_sent"))
    assert sent == [named_packet(one) for one in traced.passed(from_client=True, lost=True)]


def test_with_a_key_the_capture_is_sealed_and_the_events_are_in_the_clear(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    new_key_file(key_file)
    traced = Traced(tmp_path, key_file, loss=0.05)
    (traced.served / "x").write_bytes(Random(1).randbytes(SIZE))
    traced.run(lambda client: fetch(client, tmp_path))
    for side, is_client in (("client", True), ("server", False)):
        payloads = [one.payload for one in captured_in(traced.files(side)[1])]
        assert {payload[0] for payload in payloads} == {0x91, 0x92, 0x93, 0x94}
        events = events_in(traced.files(side)[0])
        kinds = {
            data["header"]["packet_type"]
            for name in ("transport:packet_sent", "transport:packet_received")
            for data in named(events, name)
        }
        assert kinds >= {"HELLO", "RETRY", "ACCEPT", "DATA", "ACK", "FIN", "FIN_ACK"}
        way = "transport:packet_received" if is_client else "transport:packet_sent"
        assert len(set(numbers_of(named(events, way)))) >= SIZE // 16_384
        assert {event["group_id"] for event in events} == {
            event["group_id"] for event in events_in(traced.files("client")[0])
        }


def test_a_plain_transfer_is_traced(tmp_path: Path) -> None:
    traced = Traced(tmp_path)
    (traced.served / "x").write_bytes(bytes(2 * 2048))
    traced.run(lambda client: client.fetch_plain("x", str(tmp_path / "out")))
    for side, way in (("client", "received"), ("server", "sent")):
        assert [len(one.payload) for one in captured_in(traced.files(side)[1])] == [
            1,
            2048,
            2048,
            0,
        ]
        events = events_in(traced.files(side)[0])
        [request] = [
            one["data"] for one in events if one["data"]["header"]["packet_type"] == "PLAIN_REQUEST"
        ]
        assert request["fields"] == {"name": "x"}
        chunks = [
            (one["header"]["packet_number"], one["raw"]["length"])
            for one in named(events, f"transport:packet_{way}")
            if one["header"]["packet_type"] == "PLAIN_CHUNK"
        ]
        assert chunks == [(0, 2048), (1, 2048), (2, 0)]


@needs_tshark
def test_tshark_finds_every_check_right_and_nothing_malformed(tmp_path: Path) -> None:
    traced = Traced(tmp_path, loss=0.05)
    (traced.served / "x").write_bytes(Random(1).randbytes(100_000))
    traced.run(lambda client: client.fetch("x", str(tmp_path / "out")))
    for side in ("client", "server"):
        path = traced.files(side)[1]
        # The relay's port may be one that another protocol has.
        shown = dissect(path, "-o", "udp.try_heuristic_first:TRUE")
        assert len(shown) == len(captured_in(path))
        assert {one.one("udpft.check.status") for one in shown} == {"1"}
        again = [one for one in shown if one.all("udpft.first_sent")]
        assert bool(again) is (side == "server")


def test_a_trace_is_bounded_and_says_when_it_stopped(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "x").write_bytes(bytes(SIZE))
    files = [tmp_path / "t.sqlog", tmp_path / "t.pcapng"]
    with Server(tmp_path / "served", port=0) as server:
        thread = Thread(target=server.run)
        thread.start()
        with (
            Trace(files, "client", 20_000, said.append) as trace,
            Client(f"127.0.0.1:{server.port}", trace=trace) as client,
        ):
            result = client.fetch("x", str(tmp_path / "out"))
        server.stop(0)
        thread.join()
    assert result.verified
    assert [file.stat().st_size < 20_200 for file in files] == [True, True]
    assert events_in(files[0])[-1]["name"] == "udpft:trace_stopped"
    assert len(captured_in(files[1])) > 3
    assert sorted(words.split(":")[0] for words in said) == sorted(map(str, files))
    assert all("--trace-limit" in words for words in said)


def test_a_name_that_says_nothing_of_its_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.sqlog"):
        Trace([tmp_path / "trace.txt"], "client")
    with pytest.raises(UsageError, match="one file"):
        Trace([tmp_path / "t.sqlog", tmp_path / "." / "t.sqlog"], "client")


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(LocalWriteFailed, match="No such file"):
        Trace([tmp_path / "nowhere" / "t.sqlog"], "client")


def test_what_was_noted_is_in_the_files_when_a_transfer_ends(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(SIZE))
    files = [tmp_path / "t.sqlog", tmp_path / "t.pcapng"]
    with Server(tmp_path, port=0) as server:
        thread = Thread(target=server.run)
        thread.start()
        with (
            Trace(files, "client") as trace,
            Client(f"127.0.0.1:{server.port}", trace=trace) as client,
        ):
            client.fetch("x", str(tmp_path / "out"))
            last = events_in(files[0])[-1]["data"]["header"]["packet_type"]
            assert last == "FIN_ACK"
            assert captured_in(files[1])[-1].payload[0] == 0x87
        server.stop(0)
        thread.join()
