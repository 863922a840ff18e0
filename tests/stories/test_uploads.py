"""Uploads on bad networks: the exact file, or an error with the right name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from udpft.errors import PartialTransfer, TimedOut
from udpft.protocol.contract import Completed
from udpft.protocol.params import CHUNK_SIZE, IDLE_TIMEOUT_S
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import MemorySink, Shape, SimNet, random_bytes

CONTENT = random_bytes(600_000)


def confirmed(net: SimNet) -> bool:
    outcomes = [client.outcome for client in net.clients.values()]
    return all(isinstance(one, Completed) and one.confirmed for one in outcomes)


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.25])
@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE, 600_000])
def test_it_arrives_whatever_is_lost(loss: float, size: int) -> None:
    net = SimNet({}, seed=3, up=Shape(loss=loss), down=Shape(loss=loss))
    net.put("file", CONTENT[:size])
    net.run()
    assert net.stored == {"file": CONTENT[:size]}
    assert confirmed(net)
    net.run_until_quiet()
    assert net.closed == [("file", None, size)]
    assert net.up.sent_bytes <= 1.3 * size / (1 - loss) + 40_000


def test_disorder_damage_and_repeats_do_no_harm() -> None:
    shape = Shape(reorder=0.1, duplicate=0.1, corrupt=0.02, jitter_s=0.002)
    net = SimNet({}, seed=5, up=shape, down=shape)
    net.put("file", CONTENT)
    net.run()
    assert net.stored == {"file": CONTENT}
    assert confirmed(net)


def test_with_a_key() -> None:
    net = SimNet({}, seed=5, up=Shape(loss=0.05), down=Shape(loss=0.05), key=bytes(32))
    net.put("file", CONTENT)
    net.run()
    assert net.stored == {"file": CONTENT}
    assert confirmed(net)


def test_a_place_that_takes_its_time_is_waited_for() -> None:
    net = SimNet({}, seed=1)
    net.busy_commits = 1000  # of 50 ms each, in the end: longer than any silence is believed
    net.put("file", CONTENT)
    net.run()
    assert net.stored == {"file": CONTENT}
    assert confirmed(net)
    assert net.now > 2 + IDLE_TIMEOUT_S


def test_the_client_knows_though_the_last_words_are_lost() -> None:
    cut: list[float] = []

    def dead(now: float) -> bool:
        if not cut and net.stored:
            cut.append(now)
        return bool(cut) and now < cut[0] + 0.4

    net = SimNet({}, seed=1, down=Shape(dead=dead))
    net.put("file", CONTENT)
    net.run()
    assert cut
    assert confirmed(net)


def test_what_is_there_is_not_sent() -> None:
    net = SimNet({}, seed=1)
    half = 150 * CHUNK_SIZE
    sink = MemorySink(len(CONTENT))
    sink.content[:half], sink.written = CONTENT[:half], half
    net.left["file"] = sink
    net.put("file", CONTENT)
    net.run()
    assert net.stored == {"file": CONTENT}
    net.run_until_quiet()
    assert net.closed == [("file", None, len(CONTENT) - half)]


def test_a_client_that_vanishes_gives_way_to_the_next() -> None:
    net = SimNet({}, seed=1, up=Shape(rate_bytes_per_s=200_000))
    gone = net.put("file", CONTENT)
    net.run_to(1.0)
    net.vanish(gone)
    net.run_to(2.5)
    assert len(net.listener) == 1
    net.put("file", CONTENT, address="again")
    net.run()
    assert net.stored == {"file": CONTENT}
    name, error, received = net.closed[0]
    assert isinstance(error, PartialTransfer)
    assert (name, 0 < received < len(CONTENT)) == ("file", True)


def test_a_client_that_speaks_does_not_give_way() -> None:
    net = SimNet({}, seed=1, up=Shape(rate_bytes_per_s=200_000))
    net.put("file", CONTENT)
    net.run_to(1.0)
    net.put("file", CONTENT[::-1], address="second")
    net.run_to(1.5)
    assert len(net.listener) == 2  # a real place is locked; here both are let in, and neither ended
    net.run()
    assert confirmed(net)


def test_a_client_that_never_comes_back_is_given_up() -> None:
    net = SimNet({}, seed=1, up=Shape(rate_bytes_per_s=200_000))
    net.vanish(net.put("file", CONTENT))
    gone = net.put("other", CONTENT)
    net.run_to(1.0)
    net.vanish(gone)
    net.run_until_quiet(until=60)
    assert [ended.name for ended in net.ended] == ["other"]
    assert isinstance(net.ended[0].error, TimedOut)
    assert "client" in str(net.ended[0].error)
    assert net.stored == {}


def test_a_server_that_is_gone_is_noticed() -> None:
    gone: list[float] = []
    dead = Shape(rate_bytes_per_s=200_000, dead=lambda _: bool(gone))
    net = SimNet({}, seed=1, up=dead)
    client = net.put("file", CONTENT)
    net.run_to(1.0)
    gone.append(1.0)
    net.run(until=60)
    assert isinstance(client.error, TimedOut)
    assert str(client.error) == "the server stopped answering"


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_it_goes_on_with_a_server_started_again(loss: float, held: bool) -> None:
    net = SimNet({}, seed=1, up=Shape(rate_bytes_per_s=200_000, loss=loss), down=Shape(loss=loss))
    client = net.put("file", CONTENT)
    net.run_to(1.0)
    if held:  # of what the server before has kept, nothing is sent again
        net.left["file"] = MemorySink(len(CONTENT))
        net.left["file"].content[:100_000] = CONTENT[:100_000]
        net.left["file"].written = 100_000
    net.restart_server()
    before = net.up.sent_bytes
    net.run(until=60)
    assert confirmed(net)
    assert net.stored == {"file": CONTENT}
    missing = len(CONTENT) - 100_000 * held
    assert net.up.sent_bytes - before <= 1.4 * missing / (1 - loss) + 40_000
    assert client.ended_at <= 3.0 + 1.5 * missing / 200_000 / (1 - loss) ** 2


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_it_goes_on_from_another_address(key: bytes | None) -> None:
    net = SimNet({}, seed=1, up=Shape(rate_bytes_per_s=200_000), key=key)
    client = net.put("file", CONTENT)
    net.run_to(1.0)
    net.readdress(client)
    net.run_to(1.2)
    net.readdress(client)
    net.run(until=60)
    assert confirmed(net)
    assert net.stored == {"file": CONTENT}
    assert client.ended_at <= 8


@pytest.mark.parametrize("ways", ["up", "down", "both"])
@pytest.mark.parametrize("mtu", [1_280, 1_450])
def test_it_goes_on_where_the_path_carries_less_than_before(mtu: int, ways: str) -> None:
    net = SimNet({}, seed=1, up=Shape(rate_bytes_per_s=200_000))
    client = net.put("file", CONTENT)
    net.run_to(1.0)
    for link in (net.up, net.down):
        if ways in ("both", "up" if link is net.up else "down"):
            link.shape = replace(link.shape, mtu_payload=mtu)
    net.run(until=60)
    assert confirmed(net)
    assert net.stored == {"file": CONTENT}
    assert client.ended_at <= 12


def test_it_goes_on_after_a_server_has_stopped_and_begun_again() -> None:
    net = SimNet({}, seed=1, up=Shape(rate_bytes_per_s=200_000))
    client = net.put("file", CONTENT)
    net.run_to(1.0)
    net.listener.draining = True
    net.listener.abort_all(PartialTransfer("the server is stopping"))
    net.run_to(1.5)
    net.restart_server()
    net.run(until=60)
    assert confirmed(net)
    assert net.stored == {"file": CONTENT}
    assert client.ended_at <= 8


def test_one_that_stood_still_goes_on_though_the_server_gave_it_up() -> None:
    net = SimNet({}, seed=1, up=Shape(rate_bytes_per_s=200_000), idle_timeout_s=5.0)
    client = net.put("file", CONTENT)
    net.run_to(1.0)
    net.suspend(client, 20.0)
    net.run(until=60)
    assert confirmed(net)
    assert net.stored == {"file": CONTENT}
    [ended, _] = net.ended
    assert str(ended.error) == "nothing came from the client for 5 s"


def test_strangers_draw_nothing_from_an_upload_that_is_over() -> None:
    net = SimNet({}, seed=1)
    client = net.put("file", CONTENT)
    net.run()
    [accept] = net.down.packets(PacketType.ACCEPT)[:1]
    server_id = accept[24:28]
    before = len(net.down.sent)
    for first in (PacketType.DATA, PacketType.ACK, PacketType.ERROR, 0x99):
        forged = bytes([first, 0, 0, 0]) + server_id + bytes(40)
        net.inject(forged, net.up, client.address, "server")
    net.run_until_quiet()
    assert len(net.down.sent) == before
