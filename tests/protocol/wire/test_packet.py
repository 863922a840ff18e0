"""What is written can be read; what cannot have been written is MalformedPacket, and only that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import NoSuchFile, PartialTransfer, ServerBusy, UdpftError
from udpft.protocol.params import (
    KEYED_HELLO_OVERHEAD,
    MAX_ACK_RANGES,
    MAX_NAME_BYTES,
    MIN_DATAGRAM_SIZE,
    PROBE_SIZES,
    RETRY_MAX_SIZE,
)
from udpft.protocol.wire.accept import Accept, decode_accept_untrusted, encode_accept
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted, encode_ack
from udpft.protocol.wire.error import (
    ERROR_TYPES,
    ErrorCode,
    Refusal,
    decode_error_untrusted,
    encode_error,
)
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.hello import MAX_HAVE, Hello, decode_hello_untrusted, encode_hello
from udpft.protocol.wire.packet import (
    MalformedPacket,
    Packet,
    PacketType,
    connection_id_untrusted,
    decode_untrusted,
    encode,
)
from udpft.protocol.wire.retry import Retry, decode_retry_untrusted, encode_retry

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))

hellos = st.builds(
    Hello,
    nonce=u64,
    connection_id=u32,
    name=st.binary(max_size=MAX_NAME_BYTES),
    chunk_size=u64,
    receive_room=u64,
    role=u8,
    version=u16,
    cookie=st.binary(min_size=16, max_size=16),
    max_rate_bytes_per_s=u64,
    have=st.lists(st.tuples(u64, u64), max_size=MAX_HAVE).map(tuple),
    have_of=u64,
    attempt=u8,
    flags=u64,
    size=u64,
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    identity=u64,
)
retries = st.builds(
    Retry, nonce=u64, cookie=st.binary(min_size=16, max_size=16), hello_size=u16, version=u16,
    attempt=u8,
)  # fmt: skip
accepts = st.builds(
    Accept, nonce=u64, connection_id=u32, chunk_size=u32, size=u64,
    mtime_ns=st.integers(-(2**63), 2**63 - 1), identity=u64, receive_room=u64,
    max_rate_bytes_per_s=u64, have=st.lists(st.tuples(u64, u64), max_size=MAX_HAVE).map(tuple),
)  # fmt: skip
# Half-open ranges, newest first, none adjacent: the even count of distinct bounds, paired.
ack_ranges = (
    st.lists(u32, min_size=2, max_size=2 * MAX_ACK_RANGES, unique=True)
    .map(lambda bounds: sorted(bounds[: len(bounds) // 2 * 2]))
    .map(lambda bounds: list(zip(bounds[::2], bounds[1::2], strict=True))[::-1])
)
acks = st.builds(
    Ack,
    ack_delay_s=st.integers(0, 2**32 - 1).map(lambda us: us / 1e6),
    room=u32,
    first_missing=u32,
    drops=u32,
    ranges=ack_ranges,
)
fins = st.builds(Fin, size=u64, digest=st.binary(min_size=16, max_size=16))
refusals = st.builds(
    Refusal,
    nonce=u64,
    code=st.sampled_from(ErrorCode),
    reason=st.text(max_size=90),
    retry_after_s=st.integers(0, 65_535).map(lambda ms: ms / 1000),
)

Decoder = Callable[[Packet], object]
DECODERS: list[tuple[PacketType, Decoder]] = [
    (PacketType.HELLO, decode_hello_untrusted),
    (PacketType.RETRY, decode_retry_untrusted),
    (PacketType.ACCEPT, decode_accept_untrusted),
    (PacketType.ACK, decode_ack_untrusted),
    (PacketType.FIN, decode_fin_untrusted),
    (PacketType.ERROR, decode_error_untrusted),
]
_FINS = st.sampled_from([PacketType.FIN, PacketType.FIN_ACK])
encodings = st.one_of(
    hellos.map(lambda hello: encode_hello(hello, 2_072)),
    st.builds(encode_retry, retries, u32),
    st.builds(encode_accept, accepts, u32, st.just(200)),
    st.builds(encode_ack, acks, u32, st.just(0)),
    st.builds(encode_fin, _FINS, fins, u32, st.just(0)),
    st.builds(encode_error, refusals, u32),
)


def opened(datagram: bytes) -> Packet:
    return decode_untrusted(memoryview(datagram))


def reads_or_is_malformed(decode: Decoder, packet: Packet) -> None:
    """Any other exception fails the test."""
    try:
        decode(packet)
    except MalformedPacket:
        return


# ------------------------------------------------------------------------------- round trips


@given(st.sampled_from(PacketType), u32, st.binary(max_size=200), u8, u16)
def test_a_control_packet_round_trips(
    type_: PacketType, connection_id: int, body: bytes, flags: int, aux: int
) -> None:
    datagram = encode(type_, connection_id, body, flags=flags, aux=aux)
    assert opened(datagram) == Packet(type_, flags, aux, connection_id, memoryview(body))
    assert connection_id_untrusted(bytearray(datagram)) == connection_id


@given(hellos, st.sampled_from(PROBE_SIZES[:4]))
def test_hello_round_trips_whatever_its_padding(hello: Hello, size: int) -> None:
    datagram = encode_hello(hello, size)
    assert len(datagram) == size
    assert decode_hello_untrusted(opened(datagram)) == hello


@given(retries, u32)
def test_retry_round_trips_and_stays_small(retry: Retry, connection_id: int) -> None:
    datagram = encode_retry(retry, connection_id)
    assert len(datagram) <= RETRY_MAX_SIZE
    assert decode_retry_untrusted(opened(datagram)) == retry


@given(accepts, u32, st.integers(0, 9_000))
def test_accept_round_trips_whatever_its_padding(
    accept: Accept, connection_id: int, size: int
) -> None:
    datagram = encode_accept(accept, connection_id, size)
    assert len(datagram) >= size
    assert decode_accept_untrusted(opened(datagram)) == accept


@given(acks, u32)
def test_ack_round_trips(ack: Ack, connection_id: int) -> None:
    packet = opened(encode_ack(ack, connection_id, 0))
    again = decode_ack_untrusted(packet)
    assert again._replace(ack_delay_s=0) == ack._replace(ack_delay_s=0)
    assert again.ack_delay_s == pytest.approx(ack.ack_delay_s, abs=1e-6)
    assert packet.connection_id == connection_id


@given(fins, st.sampled_from([PacketType.FIN, PacketType.FIN_ACK]), u32)
def test_fin_round_trips(fin: Fin, type_: PacketType, connection_id: int) -> None:
    packet = opened(encode_fin(type_, fin, connection_id, 0))
    assert (packet.type, decode_fin_untrusted(packet)) == (type_, fin)


@given(refusals, u32)
def test_error_round_trips(refusal: Refusal, connection_id: int) -> None:
    again = decode_error_untrusted(opened(encode_error(refusal, connection_id)))
    assert again._replace(retry_after_s=0.0) == refusal._replace(retry_after_s=0.0)
    assert again.retry_after_s == pytest.approx(refusal.retry_after_s)


# ------------------------------------------------------------------------------ at the limits


def test_the_longest_hello_fits_the_smallest_datagram() -> None:
    hello = Hello(
        nonce=2**64 - 1,
        connection_id=2**32 - 1,
        name=b"n" * MAX_NAME_BYTES,
        chunk_size=2048,
        receive_room=2**63,
        max_rate_bytes_per_s=1,
        have=((0, 2**63),) * MAX_HAVE,
        have_of=2**64 - 1,
    )
    upload = hello._replace(
        have=(), have_of=0, flags=3, size=2**63, mtime_ns=-1, identity=2**64 - 1
    )
    for one in (hello, upload):
        fits = MIN_DATAGRAM_SIZE - KEYED_HELLO_OVERHEAD
        datagram = encode_hello(one, fits)
        assert len(datagram) == fits
        assert decode_hello_untrusted(opened(datagram)) == one
    datagram = encode_hello(hello, MIN_DATAGRAM_SIZE)
    assert len(datagram) == MIN_DATAGRAM_SIZE
    assert decode_hello_untrusted(opened(datagram)) == hello


def test_an_ack_that_was_held_back_for_hours_says_as_much_as_it_can() -> None:
    ack = decode_ack_untrusted(opened(encode_ack(Ack(1e6, 0, 0, 0, [(0, 1)]), 1, 0)))
    assert ack.ack_delay_s == pytest.approx(4294.967295)


def test_a_reason_too_long_is_cut_between_characters() -> None:
    refusal = Refusal(1, ErrorCode.DENIED, "a" + "ü" * 300)
    again = decode_error_untrusted(opened(encode_error(refusal, 1)))
    assert again.reason == "a" + "ü" * 199


def test_a_reason_that_no_utf8_can_carry_is_sent_with_question_marks() -> None:
    refusal = Refusal(1, ErrorCode.NOT_FOUND, "name \udcff")
    assert decode_error_untrusted(opened(encode_error(refusal, 1))).reason == "name ?"


def test_an_error_code_of_a_later_version_reads_as_cancelled() -> None:
    datagram = bytearray(encode_error(Refusal(7, ErrorCode.BUSY, "later"), 1))
    body = datagram[16:]
    body[8:12] = (999).to_bytes(4, "little")
    refusal = decode_error_untrusted(opened(encode(PacketType.ERROR, 1, bytes(body))))
    assert refusal.code is ErrorCode.CANCELLED
    assert refusal.reason == "later"


def test_a_hello_field_of_a_later_version_is_skipped() -> None:
    hello = Hello(nonce=1, connection_id=2, name=b"x", chunk_size=3, receive_room=4)
    body = encode_hello(hello, 300)[16:]
    fields_at = 32
    unknown = bytes([200, 3, 0]) + b"???"
    extended = body[:fields_at] + unknown + body[fields_at:]
    assert decode_hello_untrusted(opened(encode(PacketType.HELLO, 0, extended))) == hello


# --------------------------------------------------------------------- bytes of whoever sends


@given(st.binary(max_size=2_100))
def test_random_bytes_are_malformed(datagram: bytes) -> None:
    with pytest.raises(MalformedPacket):
        opened(datagram)


@given(encodings, st.data())
def test_a_packet_with_any_byte_changed_is_malformed(datagram: bytes, data: st.DataObject) -> None:
    damaged = bytearray(datagram)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MalformedPacket):
        opened(bytes(damaged))


@given(encodings, st.data())
def test_a_packet_cut_short_or_made_longer_is_malformed(
    datagram: bytes, data: st.DataObject
) -> None:
    cut = datagram[: data.draw(st.integers(0, len(datagram) - 1))]
    longer = datagram + data.draw(st.binary(min_size=1, max_size=20))
    for wrong in (cut, longer):
        with pytest.raises(MalformedPacket):
            opened(wrong)


def test_a_packet_of_no_known_type_is_malformed() -> None:
    for first_byte in set(range(256)) - set(PacketType):
        datagram = encode(first_byte, 1, b"body")  # type: ignore[arg-type]
        with pytest.raises(MalformedPacket):
            opened(datagram)


@pytest.mark.parametrize(("type_", "decode"), DECODERS)
@given(body=st.binary(max_size=300), flags=u8, aux=u16)
def test_a_random_body_is_read_or_malformed(
    type_: PacketType, decode: Decoder, body: bytes, flags: int, aux: int
) -> None:
    # The check was right: a stranger can compute it as well as we can.
    reads_or_is_malformed(decode, Packet(type_, flags, aux, 0, memoryview(body)))


@pytest.mark.parametrize(("type_", "decode"), DECODERS)
@given(datagram=encodings, data=st.data())
def test_a_body_that_was_once_right_is_read_or_malformed(
    type_: PacketType, decode: Decoder, datagram: bytes, data: st.DataObject
) -> None:
    body = bytearray(datagram[16:])
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, min(len(body) - 1, 150)))] = data.draw(u8)
    stop = data.draw(st.integers(0, len(body)))
    reads_or_is_malformed(decode, Packet(type_, 0, 0, 0, memoryview(bytes(body[:stop]))))


def hello_with(*fields: bytes) -> Packet:
    return opened(encode(PacketType.HELLO, 0, bytes(32) + b"".join(fields)))


NAME = b"\x01\x04\x00file"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"\x00\x00\x00", NAME],
        [b"\x01\xff\xffshort"],
        [b"\x01\xe9\x03" + b"n" * 1001],
        [NAME, NAME],
        [NAME, b"\x02\x04\x00aaaa"],
        [NAME, b"\x05\x0f\x00" + bytes(15)],
        [NAME, b"\x05\x90\x00" + bytes(144)],
    ],
    ids=[
        "no name",
        "a name after the end of the fields",
        "a field over the end",
        "a name too long",
        "two names",
        "a number of four bytes",
        "half a range",
        "nine ranges",
    ],
)
def test_a_hello_that_makes_no_sense_is_malformed(fields: list[bytes]) -> None:
    with pytest.raises(MalformedPacket):
        decode_hello_untrusted(hello_with(*fields))


def test_a_hello_of_a_name_alone_is_enough() -> None:
    assert decode_hello_untrusted(hello_with(NAME)).name == b"file"


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [(1, 1)],
        [(2, 1)],
        [(0, 1), (2, 3)],
        [(4, 6), (2, 4)],
        [(4, 6), (4, 6)],
        [(4, 6), (3, 5)],
    ],
)
def test_ack_ranges_out_of_order_or_touching_are_malformed(ranges: list[tuple[int, int]]) -> None:
    packet = opened(encode_ack(Ack(0.0, 0, 0, 0, ranges), 1, 0))
    with pytest.raises(MalformedPacket):
        decode_ack_untrusted(packet)


def test_an_ack_of_too_many_ranges_is_malformed() -> None:
    body = bytes(16) + b"".join(
        at.to_bytes(4, "little") + (at + 1).to_bytes(4, "little")
        for at in range(2 * MAX_ACK_RANGES, -1, -2)
    )
    with pytest.raises(MalformedPacket):
        decode_ack_untrusted(opened(encode(PacketType.ACK, 1, body)))


def test_a_reason_that_is_no_text_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        decode_error_untrusted(opened(encode(PacketType.ERROR, 1, bytes(12) + b"\xff")))


# ------------------------------------------------------------------------- errors from the peer


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_code_becomes_an_exception_of_ours(code: ErrorCode) -> None:
    error = Refusal(0, code, "").as_error()
    assert isinstance(error, UdpftError)
    assert type(error) is ERROR_TYPES[code]
    assert str(error), "an error without words"


def test_a_reason_of_two_lines_is_a_message_and_its_hint() -> None:
    error = Refusal(0, ErrorCode.NOT_FOUND, "no such file\ndid you mean 'a'?").as_error()
    assert isinstance(error, NoSuchFile)
    assert (str(error), error.hint) == ("no such file", "did you mean 'a'?")


def test_what_the_servers_own_disk_does_is_not_this_machines_fault() -> None:
    assert isinstance(Refusal(0, ErrorCode.READ_FAILED, "I/O error").as_error(), PartialTransfer)
    assert isinstance(Refusal(0, ErrorCode.BUSY, "full").as_error(), ServerBusy)


def test_a_busy_server_says_when_to_come_back() -> None:
    busy = [Refusal(0, ErrorCode.BUSY, "full", wait_s).as_error() for wait_s in (2.5, 0.0)]
    assert [isinstance(one, ServerBusy) and one.retry_after_s for one in busy] == [2.5, 1.0]


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1))
def test_what_moves_a_transfer_is_bound_to_its_nonce(nonce: int, other: int) -> None:
    fin, ack = Fin(1, bytes(16)), Ack(0.0, 0, 0, 0, [(0, 1)])
    for datagram in (
        encode_ack(ack, 1, nonce),
        encode_fin(PacketType.FIN, fin, 1, nonce),
        encode_fin(PacketType.FIN_ACK, fin, 1, nonce),
    ):
        assert decode_untrusted(memoryview(datagram), nonce).connection_id == 1
        with pytest.raises(MalformedPacket):
            decode_untrusted(memoryview(datagram), nonce ^ other)
