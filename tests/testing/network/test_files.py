"""Files in memory: slots filled and written, hashes of held chunks, and places of uploads."""

from __future__ import annotations

from dataclasses import dataclass, field

from xxhash import xxh3_64_digest

from udpft.errors import PartialTransfer
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.hello import Hello, Role
from udpft.testing.network import MemoryPlace, MemorySink, MemorySource, present_in, random_bytes

CONTENT = random_bytes(2_500)
HELLO = Hello(7, 8, b"file", 1000, 0, Role.PUT, size=len(CONTENT), mtime_ns=5, identity=6)


@dataclass
class Uploads:
    """Record of uploads, as a simulated server keeps it."""

    stored: dict[str, bytes] = field(default_factory=dict)
    left: dict[str, MemorySink] = field(default_factory=dict)
    closed: list[tuple[str, BaseException | None, int]] = field(default_factory=list)


def handshake(have: tuple[tuple[int, int], ...]) -> HandshakeResult:
    accept = Accept(7, 9, 1000, len(CONTENT), 0, 0)
    return HandshakeResult(accept, 1200, b"", 0.0, have)


def slots(*sizes: int) -> list[memoryview]:
    return [memoryview(bytearray(size)) for size in sizes]


def test_contents_are_alike_by_seed_and_size_only() -> None:
    assert random_bytes(100, seed=1) == random_bytes(100, seed=1) != random_bytes(100, seed=2)
    assert len({CONTENT[at : at + 8] for at in range(0, len(CONTENT), 8)}) == 313


def test_a_source_fills_slots_and_says_how_much_it_had() -> None:
    source, places = MemorySource(CONTENT), slots(1000, 1000)
    assert source.readv(places, 1000) == 1500
    assert b"".join(places) == CONTENT[1000:] + bytes(500)
    assert (source.size, source.changed(), source.closed) == (2500, False, False)
    source.is_changed = True
    source.close()
    assert (source.changed(), source.closed) == (True, True)


def test_a_sink_writes_slots_one_after_another() -> None:
    sink = MemorySink(len(CONTENT))
    sink.writev([memoryview(CONTENT)[1000:2000], memoryview(CONTENT)[2000:]], 1000)
    assert (bytes(sink.content), sink.written) == (bytes(1000) + CONTENT[1000:], 1500)


def test_held_chunks_are_those_that_byte_ranges_hold_whole() -> None:
    assert present_in(CONTENT, handshake(((0, 999), (1500, 2500)))) == [
        (2, xxh3_64_digest(CONTENT[2000:]))
    ]
    hashes = b"".join(xxh3_64_digest(CONTENT[at : at + 1000]) for at in (0, 1000))
    assert present_in(CONTENT, handshake(((0, 2000),))) == [(0, hashes)]


def test_a_place_stores_a_file_once_it_is_no_longer_busy() -> None:
    files = Uploads()
    place = MemoryPlace(files, HELLO, "file", busy=2)
    place.open_sink(handshake(())).sink.writev([memoryview(CONTENT)], 0)
    assert [place.commit() for _ in range(2)] == [False, False]
    assert files.stored == {}
    assert place.commit()
    place.close(None, 2500)
    assert files.stored == {"file": CONTENT}
    assert files.closed == [("file", None, 2500)]


def test_a_place_goes_on_with_what_an_earlier_upload_has_left() -> None:
    files = Uploads()
    files.left["file"] = MemorySink(len(CONTENT))
    files.left["file"].writev([memoryview(CONTENT)[:2000]], 0)
    place = MemoryPlace(files, HELLO, "file", busy=0)
    assert place.have == ((0, 2000),)
    assert [first for first, _ in place.open_sink(handshake(place.have)).present] == [0]
    assert files.left == {}


def test_a_place_tells_errors_as_they_are() -> None:
    error = PartialTransfer("the client went away")
    assert MemoryPlace(Uploads(), HELLO, "file", busy=0).told(error) is error
