"""Sparse files on bad networks: holes are not sent, and the file is exact all the same."""

from __future__ import annotations

import pytest

from udpft.protocol.contract import Completed, OpenedSink, SparseMap
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import (
    MemorySink,
    MemorySource,
    Shape,
    SimNet,
    SimulatedClient,
    present_in,
    random_bytes,
)

BLOCK = 4096
DATA = random_bytes(40_000)
HOLE = bytes(3 << 20)
LAYOUTS = {
    "beginning": HOLE + DATA,
    "middle": DATA + HOLE + DATA,
    "end": DATA + HOLE,
    "all": HOLE,
    "odd end": DATA + HOLE + bytes(77),
    "several": (DATA + HOLE) * 3 + b"x",
}


def fetched(
    content: bytes, *, sparse: bool = True, known: bool = True, **options: object
) -> tuple[SimNet, bytes]:
    """Fetch a file, sparse or not, by a client that knows of holes or not."""
    net = SimNet({"file": content}, **options)  # type: ignore[arg-type]
    if sparse:
        net.sources["file"].note_holes()
    client = net.get("file", sparse=known)
    net.run()
    assert isinstance(client.outcome, Completed), client.outcome
    return net, client.content


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hole_is_not_sent(layout: str, loss: float) -> None:
    content = LAYOUTS[layout]
    net, here = fetched(content, seed=2, down=Shape(loss=loss), up=Shape(loss=loss))
    assert here == content
    data_bytes = len(content) - content.count(HOLE) * len(HOLE)
    assert net.down.sent_bytes < 2 * data_bytes + 60_000


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nor_on_its_way_to_the_server(layout: str, loss: float) -> None:
    content = LAYOUTS[layout]
    net = SimNet({}, seed=2, down=Shape(loss=loss), up=Shape(loss=loss))
    client = net.put("file", content, sparse=True)
    net.run()
    assert isinstance(client.outcome, Completed), client.outcome
    assert net.stored == {"file": content}
    data_bytes = len(content) - content.count(HOLE) * len(HOLE)
    assert net.up.sent_bytes < 2 * data_bytes + 60_000


@pytest.mark.parametrize("chunk_size", [64, 1000, 2048, 8944, 16_344])
def test_holes_that_no_chunk_begins_with(chunk_size: int) -> None:
    content = DATA[: BLOCK + 5] + bytes(9 * BLOCK) + DATA[:100] + bytes(5 * BLOCK) + b"end"
    net = SimNet({"file": content})
    net.sources["file"].note_holes()
    client = net.get("file", sparse=True, chunk_size=chunk_size)
    net.run()
    assert client.content == content
    net = SimNet({})
    net.put("file", content, sparse=True)
    net.run()
    assert net.stored == {"file": content}


def test_with_a_key() -> None:
    content = LAYOUTS["several"]
    net, here = fetched(content, key=bytes(32))
    assert here == content
    assert net.down.sent_bytes < 300_000
    client = net.put("file", content, sparse=True)
    net.run()
    assert isinstance(client.outcome, Completed)
    assert net.stored["file"] == content
    assert net.up.sent_bytes < 400_000


def test_a_client_that_does_not_know_of_holes_is_answered_as_ever() -> None:
    content = DATA + bytes(20 * BLOCK) + DATA
    nets = [fetched(content, sparse=one, known=False, seed=4)[0] for one in (False, True)]
    assert nets[0].down.sent == nets[1].down.sent
    assert nets[0].up.sent == nets[1].up.sent
    assert nets[0].down.sent_bytes > len(content)


def test_a_server_that_does_not_know_of_holes_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    content = DATA + bytes(20 * BLOCK) + DATA
    no_map = lambda *_: SparseMap()  # noqa: E731
    monkeypatch.setattr("udpft.protocol.server.upload.fitted_map", no_map)
    monkeypatch.setattr("udpft.protocol.server.download.fitted_map", no_map)
    net, here = fetched(content)
    assert here == content
    client = net.put("file", content, sparse=True)
    net.run()
    assert isinstance(client.outcome, Completed)
    assert net.stored["file"] == content
    assert net.up.sent_bytes > len(content)


def test_more_holes_than_can_be_told_come_as_zeros() -> None:
    content = b"".join(bytes(BLOCK) + DATA[:BLOCK] for _ in range(600))
    net, here = fetched(content)
    assert here == content
    assert len(content) - 600 * BLOCK < net.down.sent_bytes < len(content) - 200 * BLOCK


def test_what_is_held_in_place_of_a_hole_is_compared() -> None:
    content = DATA + bytes(20 * BLOCK) + DATA
    other = DATA + bytes(20 * BLOCK - 1) + b"x" + DATA
    for here in (content, other):
        net = SimNet({"file": content})
        net.sources["file"].note_holes()

        def open_sink(
            handshake: HandshakeResult, here: bytes = here, net: SimNet = net
        ) -> OpenedSink:
            sink = MemorySink(handshake.accept.size)
            sink.content[:] = here
            net.clients["client-0"].sink = sink
            return OpenedSink(sink, present_in(here, handshake))

        client = net.get("file", sparse=True, have=((0, len(content)),), open_sink=open_sink)
        net.run()
        assert isinstance(client.outcome, Completed) == (here == content)


@pytest.mark.parametrize("upload", [False, True])
def test_another_server_goes_on_with_it(upload: bool) -> None:
    content = DATA * 9 + HOLE + DATA * 9 + HOLE + DATA
    slow = Shape(rate_bytes_per_s=1_000_000, delay_s=0.01)
    net = SimNet({"file": content}, seed=7, down=slow, up=slow)
    net.sources["file"].note_holes()
    client = net.put("new", content, sparse=True) if upload else net.get("file", sparse=True)
    net.run_to(0.3)
    net.restart_server()
    net.run()
    assert isinstance(client.outcome, Completed), client.outcome
    assert (net.stored["new"] if upload else client.content) == content
    link = net.up if upload else net.down
    assert sum(len(d) for d in link.packets(PacketType.DATA)) < 1.5 * 19 * len(DATA)


def test_another_server_that_knows_no_holes_goes_on_with_it() -> None:
    content = DATA * 9 + HOLE + DATA * 9
    for first, then in ((True, False), (False, True)):
        slow = Shape(rate_bytes_per_s=1_000_000, delay_s=0.01)
        net = SimNet({}, seed=7, down=slow, up=slow)
        net.sources["file"] = MemorySource(content)
        if first:
            net.sources["file"].note_holes()
        client: SimulatedClient = net.get("file", sparse=True)
        net.run_to(0.3)
        net.sources["file"] = MemorySource(content)
        if then:
            net.sources["file"].note_holes()
        net.restart_server()
        net.run()
        assert isinstance(client.outcome, Completed), client.outcome
        assert client.content == content
