"""Targets of fuzzing: each takes any bytes, and raises only where a promise is broken.

Decoders may raise the one exception that they declare. Whole endpoints take a *script*: steps of
what arrives, most of them with a check that is right, for otherwise nothing would come further than
the check; and of time that passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from math import inf
from random import Random

from udpft.errors import (
    PartialTransfer,
    ShellFailed,
    UdpftError,
    UsageError,
    VersionMismatch,
)
from udpft.protocol.client.download import Download
from udpft.protocol.client.upload import Upload
from udpft.protocol.contract import (
    HOLE_BLOCK_BYTES,
    Batch,
    Completed,
    Failed,
    OpenedSink,
    SparseMap,
    TransferIds,
    Verified,
)
from udpft.protocol.handshake.initiator import HandshakeOptions, Initiator
from udpft.protocol.params import MAX_BURST_BYTES, MAX_CHUNK_SIZE, MIN_DATAGRAM_SIZE, VERSION
from udpft.protocol.server.download import Terms
from udpft.protocol.server.listener import Listener
from udpft.protocol.server.session_creation import Entropy
from udpft.protocol.server.upload import begin_upload
from udpft.protocol.transfer.ack_schedule import AckSchedule
from udpft.protocol.transfer.chunk_queue import ChunkQueue
from udpft.protocol.transfer.file_range import FileRange
from udpft.protocol.transfer.plain import NotARequest, PlainReceiver, decode_request_untrusted
from udpft.protocol.transfer.sender import Sender
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted, encode_accept
from udpft.protocol.wire.ack import decode_ack_untrusted, encode_ack
from udpft.protocol.wire.data import Burst, BurstReader, BurstWriter, chunk_hashes, data_common
from udpft.protocol.wire.error import decode_error_untrusted
from udpft.protocol.wire.fin import decode_fin_untrusted
from udpft.protocol.wire.hello import Hello, Role, decode_hello_untrusted, encode_hello
from udpft.protocol.wire.listing import MalformedListing, decode_listing_untrusted, encode_entry
from udpft.protocol.wire.packet import MalformedPacket, PacketType, decode_untrusted, encode
from udpft.protocol.wire.retry import Retry, decode_retry_untrusted, encode_retry
from udpft.remote.messages import decode_answer_untrusted
from udpft.remote.messages import decode_request_untrusted as decode_shell_request_untrusted
from udpft.small_modes.addition import Adder, Addition, Term
from udpft.small_modes.exchange import Asking
from udpft.small_modes.messages import Delivery, Message, Replier, Word
from udpft.testing.network import MemorySink, MemorySource, random_bytes

OURS, THEIRS, NONCE, CHUNK = 11, 22, 33, 64
CONTENT = random_bytes(9 * CHUNK + 5)
HELLO = Hello(NONCE, OURS, b"file", CHUNK, 100_000)
_NOW = datetime(2026, 10, 5, tzinfo=timezone(timedelta(hours=2)))
_TYPES = list(PacketType)
_LONGEST_STEP = 1_500
_BUFFER = bytearray(MAX_BURST_BYTES)


def steps(script: bytes) -> Iterator[tuple[int, bytes]]:
    """The steps of a script: kind u8, length u16 of the data, data."""
    at = 0
    while at + 3 <= len(script):
        length = int.from_bytes(script[at + 1 : at + 3], "little") % _LONGEST_STEP
        yield script[at], script[at + 3 : at + 3 + length]
        at += 3 + length


def datagram_of(kind: int, data: bytes, connection_id: int) -> bytes:
    """What arrives in a step: the data as they are, or as the body of a well-formed packet."""
    type_ = _TYPES[kind // 4 % len(_TYPES)]
    if kind % 4 == 0 or type_ is PacketType.DATA:
        return data
    return encode(type_, connection_id, data, nonce=0 if kind % 4 == 1 else NONCE)


# ---------------------------------------------------------------------------------------- decoders


def control(data: bytes) -> None:
    """`decode_untrusted`: the check of every packet."""
    with suppress(MalformedPacket):
        decode_untrusted(memoryview(data), NONCE)


def bodies(data: bytes) -> None:
    """The decoders of all bodies, behind a check that is right."""
    if not data:
        return
    packet = decode_untrusted(memoryview(encode(_TYPES[data[0] % len(_TYPES)], 7, data[1:])))
    for decode in (
        decode_hello_untrusted,
        decode_retry_untrusted,
        decode_accept_untrusted,
        decode_ack_untrusted,
        decode_fin_untrusted,
        decode_error_untrusted,
    ):
        with suppress(MalformedPacket):
            decode(packet)


def bursts(data: bytes) -> None:
    """`BurstReader`: batches cut anyhow, some of whose headers are right."""
    if len(data) < 3:
        return
    segment_size = 1 + int.from_bytes(data[:2], "little") % 200
    buffer = bytearray(data[2:])
    for at in range(0, len(buffer) - 8, segment_size):
        if data[2] % 3:
            buffer[at : at + 8] = data_common(OURS, buffer[at] & 1)
    whole = Batch(buffer, len(buffer), segment_size)
    batch = BurstReader(OURS, CHUNK, NONCE).read_untrusted(whole)
    for burst in batch.bursts:
        assert len(burst.hashes) == 8 * len(burst.slots)
        assert all(len(slot) <= CHUNK for slot in burst.slots)
    for at, size in batch.strays:
        assert 0 <= at <= at + size <= len(buffer)


def plain_request(data: bytes) -> None:
    """`decode_request_untrusted`: a name, or nothing."""
    with suppress(NotARequest):
        assert decode_request_untrusted(data)


# --------------------------------------------------------------------------------------- endpoints


def raise_it(failure: Exception) -> None:
    """Let a bug out of its session: it is what the fuzzer looks for."""
    raise failure


def wanted_in(data: bytes) -> tuple[int, int]:
    """A range out of two numbers of two bytes, the first of them signed."""
    numbers = data.ljust(4, b"\0")
    first = int.from_bytes(numbers[:2], "little", signed=True)
    return first, int.from_bytes(numbers[2:4], "little")


def listener(script: bytes) -> None:
    """A server: strangers draw less than they send; who has a cookie may do what he likes."""
    source = MemorySource(CONTENT)
    ids = iter(range(100, 100_000))
    server = Listener(
        open_source=lambda hello, *_: (
            FileRange(source, hello.wanted) if hello.role == Role.RANGE else source
        ),
        entropy=Entropy(bytes(32), lambda: next(ids), Random(1)),
        on_failure=raise_it,
    )
    now, received, cookie = 0.0, 0, b""
    connection_id = 0
    for kind, data in steps(script):
        if kind >= 0xF0:
            now += len(data) / 10
            server.handle_timeout(now)
        else:
            if kind >= 0xE8:  # a HELLO that is right, with the cookie if there is one
                hello = Hello(len(data), OURS, data[:100], CHUNK, 0, cookie=cookie or bytes(16))
                if kind >= 0xEC:
                    hello = hello._replace(role=Role.RANGE, wanted=wanted_in(data))
                data = encode_hello(hello, MIN_DATAGRAM_SIZE)
            else:
                data = datagram_of(kind, data, connection_id)
            received += len(data)
            server.handle_datagrams(Batch.of(data, "a"), now)
        while addressed := server.poll_transmit(now):
            answer = bytes(addressed.transmit.data)
            received -= len(answer)
            if answer[0] == PacketType.RETRY:
                cookie = decode_untrusted(memoryview(answer)).body[8:24].tobytes()
            elif answer[0] == PacketType.ACCEPT:
                connection_id = decode_accept_untrusted(
                    decode_untrusted(memoryview(answer))
                ).connection_id
            assert cookie, "an answer other than RETRY to somebody without a cookie"
            assert received >= 0 or connection_id, "more was drawn than sent"
        while server.poll_outcome():
            assert source.closed


def download(script: bytes) -> None:
    """A client: it never takes anything for verified but the file."""
    sinks: list[MemorySink] = []

    def open_sink(found: object) -> OpenedSink:
        size = client.handshake.accept.size if client.handshake else 0
        if size > 100_000:
            raise PartialTransfer(f"too large: {found}")
        sinks.append(MemorySink(size))
        return OpenedSink(sinks[-1])

    client = Download(
        HELLO,
        open_sink=open_sink,
        receive_queue=lambda: (100_000, 0),
        now=0.0,
        options=HandshakeOptions(sizes=(1200,)),
    )
    writer = BurstWriter(CHUNK, _BUFFER, NONCE)
    now, ended = 0.0, False
    for kind, data in steps(script):
        if kind >= 0xF0:
            now += len(data) / 10
            client.handle_timeout(now)
        else:
            data = _to_client(kind, data, writer)
            client.handle_datagrams(Batch.of(data), now)
        ended = _drain(client, now, sinks) or ended
    if ended:
        assert client.poll_event() is None


def _to_client(kind: int, data: bytes, writer: BurstWriter) -> bytes:
    """What a server might say: right where the kind says so."""
    if kind >= 0xE8:
        return encode_retry(Retry(NONCE, b"c" * 16, 1200, VERSION, 0), OURS)
    if kind >= 0xE0:
        size = len(data) % (2 * len(CONTENT))
        accept = Accept(NONCE, THEIRS, CHUNK, size, 0, 0)
        if kind & 4:
            accept = accept._replace(sparse_map=SparseMap(0, ((0, HOLE_BLOCK_BYTES),)))
        return encode_accept(accept, OURS, 1200)
    if kind >= 0xC0 and len(data) >= 3:
        chunk, length = data[0] % 20, CHUNK if data[1] % 4 else data[2] % CHUNK
        slots = writer.slots(1, length)
        slots[0][:] = data[:length].ljust(length, b"\0")
        common = data_common(OURS, data[1] & 1)
        packet = int.from_bytes(data[1:3], "little")
        return bytes(writer.seal(common, common, packet, range(chunk, chunk + 1), slots)[0])
    return datagram_of(kind, data, OURS)


def _drain(client: Download, now: float, sinks: list[MemorySink]) -> bool:
    ended = False
    while True:
        while client.poll_transmit(now):
            pass
        event = client.poll_event()
        if event is None:
            return ended
        if isinstance(event, Verified):
            assert client.receiver is not None
            assert client.receiver.complete
            assert sinks
            client.receiver.confirm()
        else:
            assert isinstance(event, (Completed, Failed))
            ended = True


def sender(script: bytes) -> None:
    """The sending end: no ack, however odd, breaks its books."""
    source = MemorySource(CONTENT)
    end = Sender(
        TransferIds(THEIRS, OURS, NONCE),
        ChunkQueue(source, len(CONTENT), BurstWriter(CHUNK, _BUFFER, NONCE)),
        now=0.0,
        random=Random(1),
    )
    end._numbers._skip_at = 5  # a number is skipped where scripts get to
    now, sent = 0.0, 0
    for kind, data in steps(script):
        if kind >= 0xF0:
            now += len(data) / 100
            end.handle_timeout(now)
        elif kind >= 0x80:  # an ACK of a few packets, of which some were sent
            body = bytes(8) + bytes(data[:1]).ljust(4, b"\0") + bytes(4)
            for one in data[1:20]:
                body += one.to_bytes(4, "little") + (one + 1).to_bytes(4, "little")
            datagram = encode(PacketType.ACK, OURS, body, nonce=NONCE)
            end.handle_datagrams(Batch.of(datagram), now)
        else:
            datagram = datagram_of(kind, data, OURS)
            end.handle_datagrams(Batch.of(datagram), now)
        while transmit := end.poll_transmit(now):
            sent += 1
            assert len(transmit.data) <= MAX_BURST_BYTES
        end.poll_event()
        assert end._history.packets_in_flight >= 0
        at = end.next_timeout()
        assert at is None or at == at, "not a number"
    assert sent <= 10_000, "a script of a few kilobytes drew a flood"


def reports(script: bytes) -> None:
    """A receiver's ACKs: whatever comes in any order, they are well-formed and name no more."""
    acks = AckSchedule(lambda: (100_000, 0), CHUNK, now=0.0)
    came: set[int] = set()
    for now, (kind, data) in enumerate(steps(script)):
        first = int.from_bytes(data[:2], "little")
        count = 1 + kind % 8
        slots = [memoryview(bytes(8))] * count
        acks.note(Burst(first, first, slots, bytes(8 * count), kind > 0xC0), float(now))
        came.update(range(first, first + count))
        if kind % 3:
            continue
        ack = acks.report(0, float(now))
        told = decode_ack_untrusted(
            decode_untrusted(memoryview(encode_ack(ack, OURS, NONCE)), NONCE)
        )
        assert told.ranges == ack.ranges
        assert told.ranges[0][1] == max(came) + 1
        assert all(came.issuperset(range(start, stop)) for start, stop in told.ranges)
        assert len(acks._packets) <= 1_024


def handshake(script: bytes) -> None:
    """A client's handshake: no answer, and no time that passes, draws a flood or hangs it."""
    link = 1472.0 if script[:1] > b"\x7f" else inf  # like Ethernet, or unknown
    client = Initiator(HELLO, now=0.0, options=HandshakeOptions(largest=link))
    now, sent = 0.0, 0
    for kind, data in steps(script):
        if kind >= 0xF0:
            now += len(data) / 10
            client.handle_timeout(now)
        elif kind >= 0xD0:
            size = 1200 if kind % 2 else 2072
            retry = Retry(client.hello.nonce, data[:16].ljust(16, b"c"), size, VERSION, kind % 8)
            client.handle(memoryview(encode_retry(retry, client.hello.connection_id)), now)
        else:
            client.handle(memoryview(datagram_of(kind, data, OURS)), now)
        while client.poll(now):
            sent += 1
        assert client.done or now <= client.next_timeout <= now + 60
    assert sent <= 20 * (1 + len(script) // 3)


def shell_lines(line: bytes) -> None:
    """The two lines of JSON through a remote shell: nothing but the errors that they may raise."""
    with suppress(UsageError, VersionMismatch):
        decode_shell_request_untrusted(line)
    with suppress(ShellFailed, VersionMismatch):
        decode_answer_untrusted(b'{"udpft":' + line)


def intake(script: bytes) -> None:
    """A server's end of an upload: it never takes anything for verified but the whole of a file."""
    place = _Place()
    hello = HELLO._replace(role=Role.PUT, size=place.size)
    accept = Accept(NONCE, OURS, CHUNK, place.size, 0, 0)
    terms = Terms(hello._replace(connection_id=THEIRS), accept, 1200, 0, 30.0)
    end = begin_upload(terms, place, lambda: (100_000, 0), 0.0)
    writer = BurstWriter(CHUNK, _BUFFER, NONCE)
    now = 0.0
    for kind, data in steps(script):
        if kind >= 0xF0:
            now += len(data) / 100
            end.handle_timeout(now)
        else:
            data = _to_client(kind, data, writer)
            end.handle_datagrams(Batch.of(data), now)
        sent = 0
        while transmit := end.poll_transmit(now):
            assert len(transmit.data) > 0
            sent += 1
        assert sent <= 10
        if event := end.poll_event():
            end.close(event)
            assert place.committed == isinstance(event, Completed)
            assert end.poll_event() is None
            return
        at = end.next_timeout()
        assert at is None or at == at, "not a number"


class _Place(MemorySink):
    """A file of a few chunks, the second of which is here."""

    size = len(CONTENT)
    mtime_ns = identity = 0
    have = ((CHUNK, 2 * CHUNK),)
    committed = False

    def __init__(self) -> None:
        super().__init__(self.size)

    def open_sink(self, _introduction: object) -> OpenedSink:
        return OpenedSink(self, [(1, chunk_hashes([memoryview(CONTENT)[CHUNK : 2 * CHUNK]]))])

    def commit(self) -> bool:
        assert self.written >= self.size - CHUNK
        self.committed = True
        return True

    def told(self, error: UdpftError) -> UdpftError:
        return error

    def close(self, _error: object = None, received_bytes: int = 0) -> None:
        assert received_bytes <= self.size - CHUNK


def upload(script: bytes) -> None:
    """A client that brings a file: no server, however odd, draws more than the file in a moment."""
    source = MemorySource(CONTENT)
    hello = HELLO._replace(role=Role.PUT, size=source.size, identity=1)
    end = Upload(hello, source=source, now=0.0, random=Random(1))
    writer = BurstWriter(CHUNK, _BUFFER, NONCE)
    now, ended = 0.0, False
    for kind, data in steps(script):
        if kind >= 0xF0:
            now += len(data) / 10
            end.handle_timeout(now)
        else:
            if kind >= 0xD0:
                have = ((len(data), len(data) * (kind % 4)),)
                told = Accept(NONCE, THEIRS, CHUNK, source.size, 0, 0, 1_000, 0, have)
                data = encode_accept(told, OURS, 1200)
            else:
                data = _to_client(kind, data, writer)
            end.handle_datagrams(Batch.of(data), now)
        sent = 0
        while end.poll_transmit(now):
            sent += 1
        assert sent < 1_000
        while event := end.poll_event():
            assert not ended
            assert isinstance(event, (Completed, Failed))
            ended = True


def listing(data: bytes) -> None:
    """`decode_listing_untrusted`: entries that are safe to be made below a folder, or none."""
    with suppress(MalformedListing):
        entries = decode_listing_untrusted(data)
        assert len(b"".join(map(encode_entry, entries))) == len(data)
        for entry in entries:
            assert not {"", ".", ".."} & set(entry.path.split("/"))


def plain_receiver(script: bytes) -> None:
    """A plain download writes what came, in order, and ends at the first short one."""
    sink = MemorySink(0)
    end = PlainReceiver(sink)
    for kind, data in steps(script):
        datagram = data.ljust(2048, b"x") if kind % 2 else data
        datagram = datagram * 2 if kind > 250 else datagram
        try:
            end.handle(memoryview(datagram))
        except VersionMismatch:
            assert len(datagram) > 2048
            return
    assert end.bytes_received == sink.written


def adder(script: bytes) -> None:
    """Both ends of add-numbers: any lines, mostly with the right first word."""
    server = Adder("server", 42)
    client = Addition(Term(17, "client", "id1"), now=0.0, timeout_s=5.0)
    for kind, data in steps(script):
        word = (b"", b"add ", b"plus ", b"add 5\n")[kind % 4]
        server.handle_datagram(word + data, kind % 3)
        while answer := server.poll_transmit():
            assert answer.datagram.startswith(b"plus 42")
        while added := server.poll_event():
            assert 1 <= added.sum.total - 42 <= 100
        _ask(client, word + data, kind)
        if client.sum:
            assert 1 <= client.sum.total - 17 <= 100


def replier(script: bytes) -> None:
    """Both ends of timed messages."""
    server = Replier("server", reply="hello", typed=bool(script and script[0] % 2))
    say = Message(Word.SAY, "hello", "client", _NOW, "id1")
    client = Delivery(say, now=0.0, timeout_s=5.0)
    now = 0.0
    for kind, data in steps(script):
        word = (b"", b"say ", b"answer ", b"wait\n", b"say hi\n")[kind % 5]
        if kind >= 0xF0:
            now += len(data)
            server.handle_timeout(now, _NOW)
        server.handle_datagram(word + data, kind % 3, now=now, at=_NOW)
        while answer := server.poll_transmit():
            assert not answer.datagram.startswith(b"say")
            assert len(answer.datagram) <= 1_232
        while spoken := server.poll_event():
            assert "\n" not in spoken.message.text
        _ask(client, word + data, kind)


def _ask(client: Asking, datagram: bytes, kind: int) -> None:
    with suppress(UdpftError):
        client.handle_datagram(datagram, kind / 100)
        while client.poll_transmit(kind / 100):
            pass


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        control,
        bodies,
        bursts,
        plain_request,
        listener,
        download,
        sender,
        reports,
        handshake,
        shell_lines,
        intake,
        upload,
        listing,
        plain_receiver,
        adder,
        replier,
    )
}

assert CHUNK <= MAX_CHUNK_SIZE
