"""Bytes of no file, to measure with, on bad networks: all, or an error of the right name."""

from __future__ import annotations

import pytest

from udpft.errors import Denied, ServerBusy, UploadRefused, VersionMismatch
from udpft.protocol.contract import Completed
from udpft.protocol.params import MAX_MEASURED_BYTES
from udpft.protocol.server import session_creation
from udpft.protocol.server.admission import Admission
from udpft.protocol.transfer.synthetic import SyntheticSource
from udpft.protocol.wire.hello import Role
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import Shape, SimNet

SIZE = 600_000
FILES = {"file": b"of somebody"}


def pattern(size: int) -> bytes:
    content = bytearray(size)
    step = 100_000
    for at in range(0, size, step):
        SyntheticSource(size).readv([memoryview(content)[at : at + step]], at)
    return bytes(content)


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.25])
@pytest.mark.parametrize("size", [0, 1, 2048, SIZE])
def test_as_many_come_as_were_asked_for(loss: float, size: int) -> None:
    net = SimNet(FILES, seed=3, up=Shape(loss=loss), down=Shape(loss=loss))
    client = net.get("", role=Role.MEASURE, size=size)
    net.run()
    assert client.content == pattern(size)
    net.run_until_quiet()
    assert [(one.name, one.size, one.error) for one in net.ended] == [("(memory)", size, None)]


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.25])
@pytest.mark.parametrize("size", [0, 1, 2048, SIZE])
def test_as_many_are_taken_as_are_brought_and_none_is_kept(loss: float, size: int) -> None:
    net = SimNet(FILES, seed=3, up=Shape(loss=loss), down=Shape(loss=loss))
    client = net.put("", pattern(size), role=Role.MEASURE_PUT)
    net.run()
    assert isinstance(client.outcome, Completed)
    assert client.outcome.confirmed
    net.run_until_quiet()
    [ended] = net.ended
    assert (ended.name, ended.traffic.bytes_received, ended.error) == ("(memory)", size, None)
    assert net.stored == {}
    assert net.closed == []


def test_with_a_key() -> None:
    net = SimNet(FILES, seed=5, up=Shape(loss=0.05), down=Shape(loss=0.05), key=bytes(32))
    down = net.get("", role=Role.MEASURE, size=SIZE)
    up = net.put("", pattern(SIZE), role=Role.MEASURE_PUT)
    net.run()
    assert down.content == pattern(SIZE)
    assert isinstance(up.outcome, Completed)


def test_another_server_goes_on_with_it() -> None:
    net = SimNet(FILES, seed=1, down=Shape(rate_bytes_per_s=200_000))
    client = net.get("", role=Role.MEASURE, size=SIZE)
    net.run_to(1.5)
    net.restart_server()
    net.run()
    assert client.content == pattern(SIZE)
    assert net.down.sent_bytes < 1.5 * SIZE


def test_a_server_that_takes_no_uploads_takes_none_of_these() -> None:
    net = SimNet(FILES, seed=1, open_place=None)
    client = net.put("", pattern(SIZE), role=Role.MEASURE_PUT)
    net.run()
    assert isinstance(client.error, UploadRefused)
    assert net.up.packets(PacketType.DATA) == []


def test_too_many_are_refused_before_anything_is_kept() -> None:
    net = SimNet(FILES, seed=1)
    client = net.get("", role=Role.MEASURE, size=MAX_MEASURED_BYTES + 1)
    net.run()
    assert isinstance(client.error, Denied)
    assert len(net.listener) == 0


def test_a_server_before_these_roles_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [role for role in Role if role not in (Role.MEASURE, Role.MEASURE_PUT)]
    monkeypatch.setattr(session_creation, "_ROLES", known)
    net = SimNet(FILES, seed=1)
    clients = [
        net.get("", role=Role.MEASURE, size=SIZE),
        net.put("", pattern(SIZE), role=Role.MEASURE_PUT),
    ]
    net.run()
    assert [type(client.error) for client in clients] == [VersionMismatch] * 2


def test_the_servers_limits_are_those_of_files() -> None:
    net = SimNet(FILES, seed=1, max_rate_bytes_per_s=200_000, admission=Admission(max_sessions=1))
    first = net.get("", role=Role.MEASURE, size=SIZE)
    net.run_to(0.5)
    second = net.get("", role=Role.MEASURE, size=SIZE)
    net.run()
    assert isinstance(second.error, ServerBusy)
    assert first.content == pattern(SIZE)
    assert first.ended_at > 2.5


def test_a_forged_source_draws_no_more_than_from_a_file() -> None:
    net = SimNet(FILES, seed=1, down=Shape(dead=lambda _: True))  # nobody there reads the cookie
    client = net.get("", role=Role.MEASURE, size=MAX_MEASURED_BYTES)
    net.run()
    assert client.error
    assert set(net.down.packet_counts()) == {PacketType.RETRY}
    assert net.down.sent_bytes < net.up.sent_bytes / 20
