"""Stories of loss: the file arrives all the same, and little is sent twice."""

from __future__ import annotations

from random import Random

import pytest

from udpft.protocol.client.download import Download
from udpft.protocol.contract import Completed
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import Shape, SimNet, random_bytes

SEEDS = [1, 2, 3]
SIZE = 5 * 2**20 + 3
CONTENT = random_bytes(SIZE)
SHORT = random_bytes(20 * 2048 + 5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.25])
def test_random_loss_costs_little_more_than_what_was_lost(loss: float, seed: int) -> None:
    net = SimNet({"file": CONTENT}, seed=seed, down=Shape(loss=loss), up=Shape(loss=loss))
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.lost > SIZE / 2048 * loss / 2
    assert net.down.sent_bytes <= 1.3 * SIZE / (1 - loss)


@pytest.mark.parametrize("seed", SEEDS)
def test_half_of_all_datagrams_may_be_lost(seed: int) -> None:
    content = random_bytes(256 * 1024)
    half = Shape(loss=0.5)
    net = SimNet({"file": content}, seed=seed, down=half, up=half)
    client = net.get("file")
    net.run(until=120)
    assert client.content == content
    assert net.down.sent_bytes <= 1.5 * len(content) / 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_acknowledgements_may_be_lost_where_data_is_not(seed: int) -> None:
    net = SimNet({"file": CONTENT}, seed=seed, up=Shape(loss=0.25))
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes <= 1.1 * SIZE


@pytest.mark.parametrize("seed", SEEDS)
def test_losses_come_in_bursts(seed: int) -> None:
    net = SimNet(
        {"file": CONTENT},
        seed=seed,
        down=Shape(rate_bytes_per_s=10e6, queue_bytes=400_000, lose=bursts_of_loss(seed)),
        up=Shape(lose=bursts_of_loss(seed + 100, longest=20)),
    )
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.lost > 100
    assert net.down.sent_bytes <= 1.3 * SIZE / (1 - net.down.lost / len(net.down.sent))


def bursts_of_loss(seed: int, longest: int = 100) -> set[int]:
    """Places of datagrams lost 1 to ``longest`` in a row, 500 apart on average."""
    random = Random(seed)
    lost: set[int] = set()
    at = 0
    while at < 10_000:
        at += random.randrange(1, 1000)
        stop = at + random.randrange(1, longest)
        lost.update(range(at, stop))
        at = stop
    return lost


def test_a_full_queue_loses_packets_and_the_file_still_arrives() -> None:
    shallow = Shape(rate_bytes_per_s=5e6, queue_bytes=30_000)
    net = SimNet({"file": CONTENT}, down=shallow)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.overflowed > 0
    assert net.down.sent_bytes <= 1.3 * SIZE


# ------------------------------------------------------------- each datagram, lost once by itself


@pytest.mark.parametrize("place", range(50))
def test_any_one_datagram_to_the_client_may_be_lost(place: int) -> None:
    # RETRY, ACCEPT, each DATA, FIN: wherever it falls, nothing waits for long.
    check_it_survives(SimNet({"file": SHORT}, down=Shape(lose={place})), place)


@pytest.mark.parametrize("place", range(20))
def test_any_one_datagram_to_the_server_may_be_lost(place: int) -> None:
    # HELLO, each ACK, either FIN_ACK.
    check_it_survives(SimNet({"file": SHORT}, up=Shape(lose={place})), place)


@pytest.mark.parametrize("first", range(14))
def test_any_three_datagrams_in_a_row_may_be_lost_both_ways(first: int) -> None:
    three = Shape(lose=range(first, first + 3))
    net = SimNet({"file": SHORT}, down=three, up=three)
    client = net.get("file")
    net.run()
    assert client.content == SHORT
    assert client.ended_at < 3.0
    # The last three may be all that the server would have heard of the end.
    net.run_until_quiet(until=40.0)
    assert net.sources["file"].closed


@pytest.mark.parametrize("size", [0, 5, 2048])
@pytest.mark.parametrize("place", range(8))
def test_a_file_of_a_packet_or_two_survives_any_one_loss(size: int, place: int) -> None:
    content = random_bytes(size)
    lossy = Shape(lose={place})
    net = SimNet({"file": content}, down=lossy, up=lossy)
    client = net.get("file")
    net.run()
    assert client.content == content
    assert client.ended_at < 1.5


def check_it_survives(net: SimNet, place: int) -> None:
    client = net.get("file")
    net.run()
    assert client.content == SHORT
    assert client.ended_at < 3.0, f"waited long after the loss of datagram {place}"
    net.run_until_quiet()
    [ended] = net.ended
    assert ended.error is None


def test_what_was_lost_last_is_sent_again_at_the_probe_timeout() -> None:
    # The last DATA packet and FIN are lost together: no later packet shows the gap.
    whole = SimNet({"file": SHORT})
    whole.get("file")
    whole.run()
    last = len(whole.down.sent)
    net = SimNet({"file": SHORT}, down=Shape(lose=range(last - 3, last)))
    client = net.get("file")
    net.run()
    assert client.content == SHORT
    assert client.ended_at < 1.0


def test_a_server_that_hears_no_fin_ack_counts_the_transfer_as_done_unconfirmed() -> None:
    whole = SimNet({"file": SHORT})
    whole.get("file")
    whole.run()
    fin_acks = {n for n, d in enumerate(whole.up.sent) if d[0] == PacketType.FIN_ACK}
    net = SimNet({"file": SHORT}, up=Shape(lose=fin_acks))
    client = net.get("file")
    net.run()
    assert client.content == SHORT
    net.run_until_quiet(until=60)
    [ended] = net.ended
    assert (ended.error, ended.confirmed) == (None, False)
    assert net.sources["file"].closed


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_the_last_acknowledgements_are_lost_too_the_end_is_unconfirmed(seed: int) -> None:
    net = SimNet({"file": CONTENT}, seed=seed, down=Shape(rate_bytes_per_s=5e6))
    client = net.get("file")
    net.run_while(lambda: not net.down.packets(PacketType.FIN))
    net.up.shape = Shape(loss=1.0)
    net.run()
    assert client.content == CONTENT
    net.run_until_quiet(until=20)
    [ended] = net.ended
    assert (ended.error, ended.confirmed) == (None, False)


def test_ten_dead_seconds_at_the_very_end_only_delay_it() -> None:
    # Everything is here but FIN, and the server knows that it is.
    whole = SimNet({"file": SHORT})
    whole.get("file")
    whole.run()
    fins = {n for n, d in enumerate(whole.down.sent) if d[0] == PacketType.FIN}
    net = SimNet({"file": SHORT}, down=Shape(lose=fins))
    client = net.get("file")
    net.run_while(lambda: not net.down.packets(PacketType.FIN))
    ends = net.now + 10
    net.down.shape = Shape(dead=lambda now: now < ends)
    net.run()
    assert client.content == SHORT
    assert ends < client.ended_at < ends + 2
    net.run_until_quiet()
    assert [(ended.error, ended.confirmed) for ended in net.ended] == [(None, True)]


@pytest.mark.parametrize("kind", ["get", "put"])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_path_that_drops_bursts_is_served_packet_by_packet(kind: str, loss: float) -> None:
    content = random_bytes(500_000)
    net = SimNet({"file": content}, seed=1, down=Shape(loss=loss), up=Shape(loss=loss))
    net.drops_bursts = True
    client = net.get("file") if kind == "get" else net.put("up", content)
    net.run()
    assert isinstance(client.outcome, Completed)
    if kind == "get":
        assert client.content == content
    else:
        assert net.stored == {"up": content}
    assert client.ended_at < 10.0
    net.run_until_quiet()
    assert [ended.traffic.sent_singly for ended in net.ended] == [kind == "get"]
    if isinstance(client.download, Download) and not loss:
        assert client.download.bundles_vanish, "the client has not noticed"


def test_a_path_that_was_dead_for_a_while_keeps_its_bursts() -> None:
    content = random_bytes(3_000_000)
    down = Shape(rate_bytes_per_s=1e6, dead=lambda now: 1.0 <= now < 6.0)
    net = SimNet({"file": content}, seed=1, down=down)
    client = net.get("file")
    net.run()
    assert client.content == content
    assert isinstance(client.download, Download)
    assert not client.download.bundles_vanish
    net.run_until_quiet()
    assert [ended.traffic.sent_singly for ended in net.ended] == [False]
