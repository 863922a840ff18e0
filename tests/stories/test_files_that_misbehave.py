"""Stories of files that fail or change at either end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    LocalReadFailed,
    LocalWriteFailed,
    PartialTransfer,
    SourceChanged,
)
from udpft.protocol.contract import Completed, NotReady, OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.testing.network import MemorySink, MemorySource, Shape, SimNet, random_bytes
from udpft.testing.network.files import present_in

SIZE = 2**20 + 3
CONTENT = random_bytes(SIZE)
PACED = Shape(rate_bytes_per_s=2e6, queue_bytes=100_000)
MIDDLE_S = 0.25
"""At 2 MB/s, a moment when half of the file is under way."""


def test_a_source_that_changes_meanwhile_fails_the_transfer_at_both_ends() -> None:
    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file")
    net.run_to(MIDDLE_S)
    net.sources["file"].is_changed = True
    net.run()
    assert isinstance(client.error, SourceChanged)
    [ended] = net.ended
    assert isinstance(ended.error, SourceChanged)
    assert net.sources["file"].closed


@pytest.mark.parametrize("down", [Shape(), PACED, Shape(loss=0.05)])
def test_a_source_that_grows_meanwhile_comes_as_it_was(down: Shape) -> None:
    net = SimNet({"file": CONTENT}, down=down, up=down)
    client = net.get("file")
    net.run_to(0.05)
    net.sources["file"].content = CONTENT + b"one more line"
    net.sources["file"].is_suspect = True
    net.run()
    assert isinstance(client.outcome, Completed)
    assert client.content == CONTENT


def test_a_source_that_changes_inside_meanwhile_fails_the_transfer_at_both_ends() -> None:
    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file")
    net.run_to(MIDDLE_S)
    net.sources["file"].content = b"!" + CONTENT[1:]
    net.sources["file"].is_suspect = True
    net.run()
    assert isinstance(client.error, SourceChanged)
    assert "nothing writes to it" in client.error.hint
    assert isinstance(net.ended[0].error, SourceChanged)


def test_a_source_that_becomes_shorter_meanwhile_fails_the_transfer_at_both_ends() -> None:
    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file")
    net.run_to(MIDDLE_S)
    net.sources["file"].content = CONTENT[: SIZE // 2]
    net.run()
    assert isinstance(client.error, SourceChanged)
    assert client.ended_at < 2.0
    assert isinstance(net.ended[0].error, SourceChanged)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_source_tampered_with_between_two_sends_of_a_chunk_is_a_digest_mismatch(
    seed: int,
) -> None:
    # Its identity says nothing; only the digest can tell.
    net = SimNet({"file": CONTENT}, seed=seed, down=Shape(rate_bytes_per_s=2e6, lose={100}))
    client = net.get("file")
    net.run_while(lambda: len(net.down.sent) < 102)
    net.sources["file"].content = bytes(SIZE)
    net.run()
    assert isinstance(client.error, DigestMismatch)
    net.run_until_quiet()
    assert isinstance(net.ended[0].error, DigestMismatch), "the server was not told"


class UnreadableSource(MemorySource):
    """A file on a disk that fails half-way."""

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        if offset > SIZE / 2:
            raise LocalReadFailed("cannot read the file: Input/output error")
        return super().readv(slots, offset)


def test_a_source_that_cannot_be_read_fails_the_transfer_at_both_ends() -> None:
    net = SimNet({"file": CONTENT}, down=PACED)
    net.sources["file"] = UnreadableSource(CONTENT)
    client = net.get("file")
    net.run()
    assert isinstance(client.error, PartialTransfer)
    assert "Input/output error" in str(client.error)
    assert isinstance(net.ended[0].error, LocalReadFailed)


class FullSink(MemorySink):
    """A disk that is full after 100,000 bytes."""

    def writev(self, slots: Sequence[memoryview], offset: int, /) -> None:
        if self.written > 100_000:
            raise LocalWriteFailed("cannot write: No space left on device")
        super().writev(slots, offset)


def test_a_full_disk_ends_the_transfer_at_once_and_the_server_is_told() -> None:
    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file", open_sink=lambda found: OpenedSink(FullSink(found.accept.size)))
    net.run()
    assert isinstance(client.error, LocalWriteFailed)
    assert client.ended_at < 1.0
    net.run_until_quiet(until=client.ended_at + 1.0)
    [ended] = net.ended
    assert isinstance(ended.error, PartialTransfer)
    assert "No space left" in str(ended.error)
    assert net.sources["file"].closed


def test_a_destination_that_cannot_be_opened_ends_the_transfer_and_the_server_is_told() -> None:
    def refuse(handshake: HandshakeResult) -> OpenedSink:
        raise DestinationExists(f"a file of {handshake.accept.size - 1} bytes is there")

    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file", open_sink=refuse)
    net.run()
    assert isinstance(client.error, DestinationExists)
    net.run_until_quiet(until=client.ended_at + 1.0)
    assert str(net.ended[0].error) == "the client has a different file of that name"
    assert net.down.sent_bytes < SIZE / 2


class Late(MemorySource):
    """A source on a slow disk: each read has to be asked for some times; perhaps it hangs."""

    def __init__(self, content: bytes, times: int, hangs_at: int = SIZE) -> None:
        super().__init__(content)
        self.times, self.hangs_at = times, hangs_at
        self.asked: dict[int, int] = {}

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        self.asked[offset] = self.asked.get(offset, 0) + 1
        if self.asked[offset] <= self.times or offset >= self.hangs_at:
            raise NotReady
        return super().readv(slots, offset)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_source_that_is_not_ready_at_once_is_sent_all_the_same(seed: int) -> None:
    net = SimNet({"file": CONTENT}, seed=seed, down=Shape(rate_bytes_per_s=2e6, loss=0.05))
    net.sources["file"] = Late(CONTENT, times=3)
    client = net.get("file")
    net.run()
    assert isinstance(client.outcome, Completed)
    assert client.content == CONTENT


def test_a_source_that_is_not_ready_is_passed_over_in_time_where_it_is_held() -> None:
    net = SimNet({"file": CONTENT})
    net.sources["file"] = Late(CONTENT, times=2)

    def open_sink(handshake: HandshakeResult) -> OpenedSink:
        sink = MemorySink(SIZE)
        sink.content[:] = CONTENT
        return OpenedSink(sink, present_in(CONTENT, handshake))

    client = net.get("file", have=((0, SIZE),), open_sink=open_sink)
    net.run()
    assert isinstance(client.outcome, Completed)


def test_a_slow_source_that_may_have_changed_is_compared_all_the_same() -> None:
    net = SimNet({"file": CONTENT})
    source = net.sources["file"] = Late(CONTENT, times=2)
    source.is_suspect = True

    def suspects() -> Sequence[tuple[int, int]]:
        source.asked.clear()
        return MemorySource.suspects(source)

    source.suspects = suspects  # type: ignore[method-assign]
    client = net.get("file")
    net.run()
    assert isinstance(client.outcome, Completed)
    assert client.content == CONTENT
    assert source.asked[0] > 2  # of those asked for since


def test_a_disk_that_hangs_is_named_and_holds_up_nobody_else() -> None:
    net = SimNet({"file": CONTENT, "other": CONTENT}, down=PACED)
    net.sources["file"] = Late(CONTENT, times=0, hangs_at=SIZE // 2)
    client, other = net.get("file"), net.get("other")
    net.run()
    assert isinstance(other.outcome, Completed)
    assert other.ended_at < 3.0
    assert isinstance(client.error, PartialTransfer)
    assert "the disk brings nothing" in {str(one.error) for one in net.ended if one.error}.pop()
