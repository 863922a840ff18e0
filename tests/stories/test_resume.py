"""Resumed transfers: chunks that the receiver holds already are not sent again."""

from __future__ import annotations

import pytest

from udpft.errors import DestinationExists, DigestMismatch
from udpft.protocol.contract import OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import (
    MemorySink,
    Shape,
    SimNet,
    SimulatedClient,
    present_in,
    random_bytes,
)

SIZE = 2**20 + 3
CONTENT = random_bytes(SIZE)
OTHER = random_bytes(SIZE, seed=99)


def resume(
    net: SimNet, here: bytes, have: tuple[tuple[int, int], ...], *, chunk_size: int = 2048
) -> SimulatedClient:
    """Fetch "file" where byte ranges of ``here`` are kept from an earlier attempt."""

    def open_sink(handshake: HandshakeResult) -> OpenedSink:
        client.sink = MemorySink(handshake.accept.size)
        client.sink.content[:] = here
        return OpenedSink(client.sink, present_in(here, handshake))

    client = net.get("file", have=have, open_sink=open_sink, chunk_size=chunk_size)
    return client


def bytes_in(have: tuple[tuple[int, int], ...]) -> int:
    return sum(stop - start for start, stop in have)


HAVES = [
    ((0, SIZE // 2),),
    ((SIZE // 2, SIZE),),
    ((0, 4096),),
    ((0, 1),),
    ((5000, 400_000), (500_000, 500_100), (600_000, SIZE)),
    tuple((at, at + 50_000) for at in range(0, 800_000, 100_000)),
]


@pytest.mark.parametrize("have", HAVES)
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_only_what_is_missing_is_sent(have: tuple[tuple[int, int], ...], loss: float) -> None:
    here = bytearray(SIZE)
    for start, stop in have:
        here[start:stop] = CONTENT[start:stop]
    net = SimNet({"file": CONTENT}, seed=1, down=Shape(loss=loss), up=Shape(loss=loss))
    client = resume(net, bytes(here), have)
    net.run()
    assert client.content == CONTENT
    missing = SIZE - bytes_in(have) + 2 * 2048 * len(have)
    assert net.down.sent_bytes <= 1.2 * missing / (1 - loss) + 10_000
    net.run_until_quiet()
    assert net.ended[0].error is None


def test_a_resume_may_use_another_chunk_size() -> None:
    net = SimNet({"file": CONTENT})
    client = resume(
        net, CONTENT[:600_000] + bytes(SIZE - 600_000), ((0, 600_000),), chunk_size=1000
    )
    net.run()
    assert client.content == CONTENT
    assert net.down.sent_bytes <= 1.1 * (SIZE - 600_000)


def test_where_everything_is_here_only_accept_and_fin_cross() -> None:
    net = SimNet({"file": CONTENT})
    client = resume(net, CONTENT, ((0, SIZE),))
    net.run()
    assert client.content == CONTENT
    counts = net.down.packet_counts()
    assert (counts[PacketType.ACCEPT], counts[PacketType.FIN]) == (1, 1)
    assert not counts[PacketType.DATA]
    net.run_until_quiet()
    assert net.ended[0].confirmed


def test_where_everything_of_a_whole_number_of_chunks_is_here_only_its_end_crosses() -> None:
    content = random_bytes(64 * 2048)
    net = SimNet({"file": content})
    client = resume(net, content, ((0, len(content)),))
    net.run()
    assert client.content == content
    assert sum(len(packet) - 24 for packet in net.down.packets(PacketType.DATA)) == 0


@pytest.mark.parametrize("place", range(6))
def test_any_one_datagram_of_such_a_fetch_may_be_lost(place: int) -> None:
    lossy = Shape(lose={place})
    net = SimNet({"file": CONTENT}, down=lossy, up=lossy)
    client = resume(net, CONTENT, ((0, SIZE),))
    net.run()
    assert client.content == CONTENT
    assert client.ended_at < 2.0
    net.run_until_quiet()
    assert net.ended[0].error is None


@pytest.mark.parametrize("have", [((0, SIZE),), ((0, 1_000_000),)])
def test_a_client_may_take_its_time_to_read_what_it_has(have: tuple[tuple[int, int], ...]) -> None:
    # It says nothing meanwhile: to the server, all that it says comes eight seconds late.
    net = SimNet({"file": CONTENT})
    client = resume(net, CONTENT, have)
    net.run_to(0.035)
    net.up.shape = Shape(delay_s=8.0)
    net.run_to(9.0)
    net.up.shape = Shape()
    net.run()
    assert client.content == CONTENT
    net.run_until_quiet()
    assert net.ended[0].error is None


@pytest.mark.parametrize("have", [((0, SIZE),), ((0, SIZE // 2),), ((2048, 4096),)])
def test_what_is_here_of_another_file_is_a_digest_mismatch(
    have: tuple[tuple[int, int], ...],
) -> None:
    net = SimNet({"file": CONTENT})
    client = resume(net, OTHER, have)
    net.run()
    assert isinstance(client.error, DigestMismatch)
    net.run_until_quiet()
    whole = have == ((0, SIZE),)
    told = DestinationExists if whole else DigestMismatch  # nothing came: no damage on the way
    assert isinstance(net.ended[0].error, told)


@pytest.mark.parametrize("have", [((0, SIZE + 1),), ((9, 3),), ((2**64 - 1, 2**64 - 1),)])
def test_ranges_that_cannot_be_are_not_believed(have: tuple[tuple[int, int], ...]) -> None:
    net = SimNet({"file": CONTENT})
    client = net.get("file", have=have)
    net.run()
    assert client.content == CONTENT


@pytest.mark.parametrize("have_of", [1, 2])
def test_ranges_count_for_the_file_that_they_are_of(have_of: int) -> None:
    net = SimNet({"file": CONTENT})
    have = ((0, SIZE // 2),)
    client = net.get("file", have=have, have_of=have_of)
    client.sink = MemorySink(SIZE)
    client.sink.content[:] = CONTENT[: SIZE // 2] + bytes(SIZE - SIZE // 2)
    assert net.sources["file"].identity == 1
    net.run()
    assert client.content == CONTENT
    assert client.handshake
    assert client.handshake.have == (have if have_of == 1 else ())
    assert (client.download.bytes_received < 0.6 * SIZE) == (have_of == 1)


def test_a_resume_of_a_large_file_lets_others_have_their_turns() -> None:
    large = random_bytes(8 * 2**20)
    net = SimNet({"file": large, "small": CONTENT[:10_000]})
    resumed = resume(net, large, ((0, len(large)),))
    small = net.get("small")
    net.run()
    assert resumed.content == large
    assert small.content == CONTENT[:10_000]
