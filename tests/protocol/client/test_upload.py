"""A whole upload as one endpoint: greeting, sending, the ends of either."""

from __future__ import annotations

import pytest

from udpft.errors import Denied, PartialTransfer, SourceChanged, TimedOut, UdpftError, UploadRefused
from udpft.protocol.client.upload import Upload
from udpft.protocol.contract import Completed
from udpft.protocol.params import CHUNK_SIZE
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import MemorySource, Shape, SimNet, SimulatedClient, random_bytes

CONTENT = random_bytes(300_000)
SLOW = Shape(rate_bytes_per_s=200_000)


def upload_of(client: SimulatedClient) -> Upload:
    assert isinstance(client.download, Upload)
    return client.download


def test_it_greets_and_then_sends() -> None:
    net = SimNet({}, seed=1)
    client = net.put("file", CONTENT)
    upload = upload_of(client)
    net.run_to(0.015)  # half a round trip more than none
    assert upload.sender is None
    assert upload.handshake is None
    net.run()
    assert upload.sender is not None
    assert upload.handshake is not None
    assert upload.handshake.accept.chunk_size == CHUNK_SIZE
    assert isinstance(client.outcome, Completed)
    kinds = list(dict.fromkeys(PacketType(datagram[0]) for datagram in net.up.sent))
    assert kinds == [PacketType.HELLO, PacketType.DATA, PacketType.FIN]


def refusing(error: UdpftError) -> SimNet:
    def open_place(*_: object) -> None:
        raise error

    return SimNet({}, seed=1, open_place=open_place)


@pytest.mark.parametrize("error", [Denied("not that name"), UploadRefused("too large")], ids=repr)
def test_what_the_server_refuses_is_not_sent(error: UdpftError) -> None:
    net = refusing(error)
    client = net.put("file", CONTENT)
    net.run()
    assert type(client.error) is type(error)
    assert str(client.error) == str(error)
    assert net.up.packets(PacketType.DATA) == []


def test_a_server_without_uploads_says_how_there_would_be_some() -> None:
    net = SimNet({}, seed=1, open_place=None)
    client = net.put("file", CONTENT)
    net.run()
    assert isinstance(client.error, UploadRefused)
    assert "--writable" in client.error.hint


def test_a_server_that_does_not_answer_is_given_up() -> None:
    net = SimNet({}, seed=1, up=Shape(dead=lambda _: True))
    client = net.put("file", CONTENT)
    net.run()
    assert isinstance(client.error, TimedOut)
    assert upload_of(client).next_timeout() is None
    assert upload_of(client).poll_transmit(net.now) is None


def test_the_slower_of_both_limits_holds() -> None:
    net = SimNet({}, seed=1, max_rate_bytes_per_s=100_000)
    client = net.put("file", CONTENT)
    net.run()
    assert net.stored == {"file": CONTENT}
    assert client.ended_at >= len(CONTENT) / 100_000 * 0.95


def test_a_source_that_changes_ends_it_and_the_server_hears_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = SimNet({}, seed=1, up=SLOW)
    client = net.put("file", CONTENT)
    net.run_to(0.5)
    monkeypatch.setattr(MemorySource, "changed", lambda _: True)
    net.run()
    assert isinstance(client.error, SourceChanged)
    net.run_until_quiet()
    assert net.stored == {}
    assert [type(ended.error) for ended in net.ended] == [SourceChanged]


def test_it_is_broken_off_before_the_server_has_answered() -> None:
    net = SimNet({}, seed=1)
    client = net.put("file", CONTENT)
    for _ in range(2):  # the first reason stays
        client.download.abort(PartialTransfer("enough"))
        client.download.abort(TimedOut("later"))
    net.run()
    assert isinstance(client.error, PartialTransfer)
    assert str(client.error) == "enough"
    assert net.up.sent == []


def test_it_is_broken_off_in_the_middle_and_the_server_hears_so() -> None:
    net = SimNet({}, seed=1, up=SLOW)
    client = net.put("file", CONTENT)
    net.run_to(0.5)
    client.download.abort(PartialTransfer("enough"))
    net.run()
    assert str(client.error) == "enough"
    net.run_until_quiet()
    assert [str(ended.error) for ended in net.ended] == ["enough"]
    assert net.stored == {}
