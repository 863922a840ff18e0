"""One listener, many transfers: each gets its file, its turn, its refusal."""

from __future__ import annotations

import pytest

from udpft.errors import PartialTransfer, ServerBusy, TimedOut
from udpft.protocol.server.admission import Admission
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import Shape, SimNet, random_bytes

SIZE = 2**20 + 3
CONTENT = random_bytes(SIZE)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_get_their_own_file_whatever_their_chunk_size(seed: int) -> None:
    files = {f"file-{n}": random_bytes(n * 30_011, seed=n) for n in range(12)}
    shared = Shape(rate_bytes_per_s=20e6, queue_bytes=300_000, loss=0.02, reorder=0.1)
    net = SimNet(files, seed=seed, down=shared, up=shared)
    sizes = [2048, 1000, 64 * 8]
    clients = {name: net.get(name, chunk_size=sizes[n % 3]) for n, name in enumerate(files)}
    net.run()
    assert all(client.content == files[name] for name, client in clients.items())
    net.run_until_quiet()
    assert sorted(ended.name for ended in net.ended) == sorted(files)
    assert all(ended.error is None for ended in net.ended)


def test_transfers_take_turns() -> None:
    net = SimNet({"file": CONTENT}, down=Shape(rate_bytes_per_s=20e6, queue_bytes=300_000))
    clients = [net.get("file") for _ in range(4)]
    net.run()
    assert all(client.content == CONTENT for client in clients)
    ends = sorted(client.ended_at for client in clients)
    assert ends[-1] <= 3 * ends[0]


def test_two_transfers_from_one_address_are_kept_apart() -> None:
    net = SimNet({"a": CONTENT, "b": CONTENT[::-1]})
    first = net.get("a")
    net.run()
    # The same address and port, and a later request.
    second = net.get("b", address=first.address)
    net.run()
    assert (first.content, second.content) == (CONTENT, CONTENT[::-1])


def test_a_full_server_says_that_it_is_busy_and_has_room_later() -> None:
    admission = Admission(max_sessions=2)
    net = SimNet({"file": CONTENT}, down=Shape(rate_bytes_per_s=2e6), admission=admission)
    welcome = [net.get("file") for _ in range(2)]
    net.run_to(0.1)
    turned_away = net.get("file")
    net.run()
    assert isinstance(turned_away.error, ServerBusy)
    assert turned_away.error.hint
    assert turned_away.ended_at < 0.5
    assert all(client.content == CONTENT for client in welcome)
    again = net.get("file")
    net.run()
    assert again.content == CONTENT


def test_a_server_that_drains_finishes_what_it_began_and_takes_nothing_new() -> None:
    net = SimNet({"file": CONTENT}, down=Shape(rate_bytes_per_s=2e6))
    early = net.get("file")
    net.run_to(0.1)
    net.listener.draining = True
    late = net.get("file")
    net.run()
    assert early.content == CONTENT
    assert isinstance(late.error, ServerBusy)
    assert "stopping" in str(late.error)
    net.run_until_quiet()
    assert len(net.listener) == 0


def test_a_server_that_stops_tells_every_client_why() -> None:
    net = SimNet({"file": CONTENT}, down=Shape(rate_bytes_per_s=2e6))
    clients = [net.get("file") for _ in range(3)]
    net.run_to(0.2)
    net.listener.draining = True
    net.listener.abort_all(PartialTransfer("the server is stopping"))
    net.run(until=32.0)  # another one may come in its place
    assert {str(client.error) for client in clients} == {"the server is stopping"}
    assert len(net.listener) == 0
    assert len(net.ended) == 3


def test_a_client_that_vanishes_costs_little_and_its_file_is_closed() -> None:
    net = SimNet({"file": CONTENT}, down=Shape(rate_bytes_per_s=2e6), idle_timeout_s=10.0)
    gone = net.get("file")
    net.run_to(0.2)
    sent_before = net.down.sent_bytes
    net.vanish(gone)
    net.run_until_quiet()
    [ended] = net.ended
    assert isinstance(ended.error, TimedOut)
    assert 9.5 <= ended.seconds <= 12
    assert net.sources["file"].closed
    assert net.down.sent_bytes - sent_before < 300_000


def test_a_client_that_vanishes_does_not_hold_up_the_others() -> None:
    net = SimNet({"file": CONTENT, "other": CONTENT}, down=Shape(rate_bytes_per_s=2e6))
    gone, stays = net.get("file"), net.get("other")
    net.run_to(0.2)
    net.vanish(gone)
    net.run()
    assert stays.content == CONTENT
    assert stays.ended_at < 3.0


@pytest.mark.parametrize("limited_by", ["client", "server"])
@pytest.mark.parametrize("limit", [300_000, 2_000_000, 5_000_000])
def test_a_rate_limit_is_kept_within_five_per_cent(limit: int, limited_by: str) -> None:
    content = random_bytes(2 * limit)
    of_server, of_client = (limit, 0) if limited_by == "server" else (0, limit)
    net = SimNet({"file": content}, max_rate_bytes_per_s=of_server)
    client = net.get("file", max_rate_bytes_per_s=of_client)
    net.run_to(0.5)
    before = net.down.sent_bytes
    net.run_to(1.5)
    assert net.down.sent_bytes - before == pytest.approx(limit, rel=0.05)
    net.run()
    assert client.content == content


def test_the_stricter_of_two_limits_counts() -> None:
    net = SimNet({"file": CONTENT}, max_rate_bytes_per_s=1_000_000)
    client = net.get("file", max_rate_bytes_per_s=500_000)
    net.run()
    assert client.content == CONTENT
    assert client.ended_at >= 0.95 * SIZE / 500_000


def test_each_packet_names_its_own_receiver() -> None:
    net = SimNet({"file": CONTENT[:50_000]})
    clients = [net.get("file") for _ in range(3)]
    net.run()
    ids = {packet[4:8] for packet in net.down.packets(PacketType.DATA)}
    assert len(ids) == len(clients)
