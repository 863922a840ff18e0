"""Servers that are killed and started again in mid-transfer, and paths that only look like it."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from udpft.errors import NoSuchFile, PartialTransfer, SourceChanged, TimedOut
from udpft.protocol.client.upload import Upload
from udpft.protocol.contract import Completed
from udpft.protocol.handshake.initiator import probe_sizes
from udpft.protocol.server.admission import Admission
from udpft.protocol.wire.error import ErrorCode, decode_error_untrusted
from udpft.protocol.wire.hello import encode_hello
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import (
    SERVER,
    Inbox,
    MemorySource,
    Shape,
    SimNet,
    SimulatedClient,
    random_bytes,
)

SIZE = 4 * 2**20 + 3
CONTENT = random_bytes(SIZE)
RATE = 1e6
QUEUE = 200_000
WINDOW = 2**20
DOWN = Shape(rate_bytes_per_s=RATE, queue_bytes=QUEUE)


def in_mid_transfer(
    *, at: float = 1.0, down: Shape = DOWN, up: Shape | None = None, seed: int = 1, **options: Any
) -> tuple[SimNet, SimulatedClient]:
    net = SimNet({"file": CONTENT}, seed=seed, down=down, up=up, **options)
    client = net.get("file")
    net.run_to(at)
    assert client.outcome is None
    assert client.download.bytes_held > 0
    return net, client


def set_links(net: SimNet, **changes: object) -> None:
    for link in (net.down, net.up):
        link.shape = replace(link.shape, **changes)  # type: ignore[arg-type]


def refusals_sent(net: SimNet) -> list[ErrorCode]:
    """The codes of the ERRORs that clients sent."""
    return [
        decode_error_untrusted(decode_untrusted(memoryview(packet))).code
        for packet in net.up.packets(PacketType.ERROR)
    ]


# ------------------------------------------------------------------------------ another server


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_fetch_goes_on_with_a_server_started_again(seed: int, loss: float) -> None:
    down, up = replace(DOWN, loss=loss), Shape(loss=loss)
    net, client = in_mid_transfer(at=0.3 + 0.4 * seed, down=down, up=up, seed=seed)
    here, began = client.download.bytes_held, net.now
    net.restart_server()
    before = net.down.sent_bytes
    net.run()
    assert client.content == CONTENT
    sent = net.down.sent_bytes - before
    assert sent <= 1.3 * (SIZE - here) / (1 - loss) + WINDOW
    assert client.ended_at - began <= 3.0 + 1.5 * (SIZE - here) / RATE / (1 - loss)
    net.run_until_quiet()
    assert [ended.error for ended in net.ended] == [None]


def test_it_may_take_its_time_to_come_back_and_do_so_twice() -> None:
    net, client = in_mid_transfer()
    for seconds in (6.0, 12.0):
        here = client.download.bytes_held
        set_links(net, dead=lambda _: True)
        net.restart_server()
        net.run_to(net.now + seconds)
        set_links(net, dead=None)
        net.run_to(net.now + 1.8)
        assert client.download.bytes_held > here
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes <= SIZE * 1.05 + 2 * WINDOW


def test_a_closed_port_is_asked_at_once() -> None:
    net, client = in_mid_transfer()
    net.restart_server()
    net.run_to(net.now + 0.4)  # what was on its way has come
    client.download.note_refused(net.now)
    net.run_to(net.now + 0.2)
    assert len(net.listener) == 1
    net.run()
    assert client.content == CONTENT


def test_where_it_does_not_come_back_patience_ends() -> None:
    net, client = in_mid_transfer()
    set_links(net, dead=lambda _: True)
    net.restart_server()
    net.run()
    assert isinstance(client.error, TimedOut)
    assert client.ended_at == pytest.approx(31.0, abs=0.5)
    hellos = net.up.packets(PacketType.HELLO)
    assert len(hellos) < 400  # a few each half second


def test_another_file_in_its_place_is_a_changed_source() -> None:
    net, client = in_mid_transfer()
    net.sources["file"] = MemorySource(random_bytes(SIZE, seed=5))
    net.sources["file"].identity = 2
    net.restart_server()
    net.run()
    assert isinstance(client.error, SourceChanged)
    net.run_to(net.now + 1.0)
    assert len(net.listener) == 0
    assert set(refusals_sent(net)) == {ErrorCode.CANCELLED}


def test_a_file_that_is_gone_with_it_is_no_such_file() -> None:
    net, client = in_mid_transfer()
    del net.sources["file"]
    net.restart_server()
    net.run()
    assert isinstance(client.error, NoSuchFile)


def test_a_server_that_is_full_at_first_is_asked_again() -> None:
    net, client = in_mid_transfer(admission=Admission(max_sessions=1))
    net.restart_server()
    other = net.get("file", max_rate_bytes_per_s=100_000)
    net.run_to(net.now + 4.0)
    assert len(net.listener) == 1
    other.download.abort(TimedOut("enough"))
    net.run()
    assert client.content == CONTENT


def test_all_but_the_end_may_be_here_when_it_happens() -> None:
    # Every chunk has come, and FIN not yet.
    net = SimNet({"file": CONTENT}, down=DOWN)
    client = net.get("file")
    net.run_while(lambda: client.download.bytes_held < SIZE)
    if client.outcome is None:
        net.restart_server()
    before = net.down.sent_bytes
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes - before < 20_000


# ---------------------------------------------------------------------------------- the same one


@pytest.mark.parametrize("delay_s", [0.001, 0.02, 0.15])
@pytest.mark.parametrize("begin", [0.5, 1.1, 1.37])
def test_after_a_cut_the_same_session_goes_on(begin: float, delay_s: float) -> None:
    end = begin + 10.0
    cut = replace(DOWN, delay_s=delay_s, dead=lambda now: begin <= now < end)
    up = Shape(delay_s=delay_s, dead=lambda now: begin <= now < end)
    net, client = in_mid_transfer(at=begin + 1.0, down=cut, up=up)
    here = client.download.bytes_held
    net.run_to(end)
    assert client.download.bytes_held == here
    most = 0

    def goes_on() -> bool:
        nonlocal most
        most = max(most, len(net.listener))
        return client.outcome is None

    net.run_to(end + 2.0)
    assert client.download.bytes_held > here
    net.run_while(goes_on)
    assert client.content == CONTENT
    assert most == 1
    net.run_until_quiet()
    assert [ended.error for ended in net.ended] == [None]


def test_a_server_that_gave_up_meanwhile_is_asked_anew() -> None:
    net, client = in_mid_transfer(idle_timeout_s=4)
    set_links(net, dead=lambda _: True)
    net.run_to(9.0)
    assert len(net.listener) == 0
    here = client.download.bytes_held
    set_links(net, dead=None)
    net.run_to(11.0)
    assert client.download.bytes_held > here
    net.run()
    assert client.content == CONTENT


def test_a_slow_server_is_not_left() -> None:
    # Two datagrams each four seconds: it is silent, and there.
    net = SimNet({"file": CONTENT[:40_000]}, max_rate_bytes_per_s=1_000)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT[:40_000]
    assert net.up.packet_counts()[PacketType.ERROR] == 0
    net.run_until_quiet()
    assert len(net.ended) == 1


@pytest.mark.parametrize("max_sessions", [1, 1024])
@pytest.mark.parametrize("mtu", [1472, 1200])
def test_a_path_that_shrinks_is_gone_on_with_in_smaller_chunks(mtu: int, max_sessions: int) -> None:
    net, client = in_mid_transfer(admission=Admission(max_sessions=max_sessions))
    here, received = client.download.bytes_held, client.download.bytes_received
    set_links(net, mtu_payload=mtu)
    net.run_to(net.now + 3.0)
    assert client.download.bytes_held > here
    assert client.download.bytes_received > received
    net.run()
    assert client.content == CONTENT
    assert client.chunk_size <= mtu - 24
    assert client.download.bytes_received <= SIZE + 10_000
    net.run_until_quiet()
    assert net.ended[-1].error is None


def test_a_question_joined_to_a_greeting_is_answered_by_the_transfer() -> None:
    net, client = in_mid_transfer(up=Shape())
    hello, size = client.download._initiator.hello, probe_sizes(2048)[-1]
    assert client.handshake
    joined = encode_hello(hello._replace(nonce=1, cookie=bytes(16)), size) + encode_hello(
        hello._replace(cookie=bytes(16)), size, client.handshake.accept.connection_id
    )
    inbox = Inbox(inf)
    inbox.put(client.address, joined[:size])
    inbox.put(client.address, joined[size:])
    before = net.down.packet_counts()
    net._deliver(SERVER, *inbox.take(net.now))
    net.run_to(net.now + 0.01)
    counts = net.down.packet_counts()
    assert counts[PacketType.RETRY] - before[PacketType.RETRY] == 1
    assert counts[PacketType.ACCEPT] - before[PacketType.ACCEPT] == 1
    net.run()
    assert client.content == CONTENT


# ------------------------------------------------------------------- a server that says goodbye


@pytest.mark.parametrize("pause_s", [0.1, 5.0, 20.0])
def test_after_a_server_has_stopped_and_begun_again_the_same_fetch_goes_on(pause_s: float) -> None:
    net, client = in_mid_transfer()
    net.listener.draining = True
    net.listener.abort_all(PartialTransfer("the server is stopping"))
    net.run_to(1.0 + pause_s)
    net.restart_server()
    here = client.download.bytes_held
    before = net.down.sent_bytes
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes - before <= 1.1 * (SIZE - here) + WINDOW


def test_one_that_does_not_begin_again_ends_the_fetch_with_its_word() -> None:
    net, client = in_mid_transfer()
    net.listener.draining = True
    net.listener.abort_all(PartialTransfer("the server is stopping"))
    net.run()
    assert str(client.error) == "the server is stopping"
    assert client.ended_at == pytest.approx(31.0, abs=1.0)


@pytest.mark.parametrize("seconds", [3.0, 20.0])
@pytest.mark.parametrize("kind", ["get", "put"])
def test_a_client_that_stood_still_goes_on(kind: str, seconds: float) -> None:
    net = SimNet({"file": CONTENT}, seed=1, down=DOWN, up=DOWN, idle_timeout_s=2.0)
    if kind == "get":
        client = net.get("file", idle_timeout_s=2.0)
    else:
        client = net.put("file", CONTENT, idle_timeout_s=2.0)
    net.run_to(1.0)
    net.suspend(client, seconds)
    net.run()
    assert isinstance(client.outcome, Completed)
    assert client.outcome.confirmed


@pytest.mark.parametrize("times", [1, 3])
def test_a_fetch_goes_on_from_another_address(times: int) -> None:
    net, client = in_mid_transfer()
    for _ in range(times):
        net.readdress(client)
        net.run_to(net.now + 0.3)
    net.run()
    assert client.content == CONTENT
    assert client.ended_at <= 10.0


def test_a_put_that_begins_anew_is_patient_with_an_outage() -> None:
    # That nobody confirms what was sent from the old address, says nothing of the new session.
    net = SimNet({}, seed=1, down=DOWN, up=DOWN)
    client = net.put("file", CONTENT[:20_000])
    upload = client.download
    assert isinstance(upload, Upload)
    net.run_while(lambda: not upload.sender or upload.sender.totals.packets < 10)
    net.readdress(client)
    net.run_while(lambda: not upload._has_left)
    net.blocked.add(client.address)
    net.run_to(net.now + 11.5)
    net.blocked.discard(client.address)
    net.run()
    assert net.stored == {"file": CONTENT[:20_000]}
    assert isinstance(client.outcome, Completed)
    assert client.outcome.confirmed


def test_where_the_old_flow_leads_nowhere_it_asks_from_a_new_port() -> None:
    net, client = in_mid_transfer()
    stuck = client.address
    net.blocked.add(stuck)
    net.run()
    assert client.content == CONTENT
    assert client.address != stuck
    assert client.ended_at <= 25.0
