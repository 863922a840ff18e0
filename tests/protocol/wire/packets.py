"""Strategies for the contents of each kind of packet, for property tests of the wire."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from udpft.protocol.contract import HOLE_BLOCK_BYTES, NO_HOLES, SparseMap
from udpft.protocol.params import (
    MAX_ACK_RANGES,
    MAX_NAME_BYTES,
)
from udpft.protocol.wire.accept import NO_PART, Accept, Part, decode_accept_untrusted, encode_accept
from udpft.protocol.wire.ack import Ack, decode_ack_untrusted, encode_ack
from udpft.protocol.wire.error import (
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
    decode_untrusted,
)
from udpft.protocol.wire.retry import Retry, decode_retry_untrusted, encode_retry

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))

block = HOLE_BLOCK_BYTES
holes = (
    st.tuples(st.integers(0, 2**31), st.integers(1, 2**31 - 1))
    .map(lambda hole: (hole[0] * block, (hole[0] + hole[1]) * block))
)  # fmt: skip
sparse_maps = st.one_of(
    st.just(NO_HOLES),
    st.builds(SparseMap, u64, st.lists(holes, min_size=1, max_size=4).map(tuple)),
)
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
    wanted=st.just((0, 0)) | st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**64 - 1)),
    rtt_us=u64,
    sparse_map=sparse_maps,
)
retries = st.builds(
    Retry, nonce=u64, cookie=st.binary(min_size=16, max_size=16), hello_size=u16, version=u16,
    attempt=u8,
)  # fmt: skip
accepts = st.builds(
    Accept, nonce=u64, connection_id=u32, chunk_size=u32, size=u64,
    mtime_ns=st.integers(-(2**63), 2**63 - 1), identity=u64, receive_room=u64,
    max_rate_bytes_per_s=u64, have=st.lists(st.tuples(u64, u64), max_size=MAX_HAVE).map(tuple),
    part=st.just(NO_PART) | st.builds(Part, u64, u64, st.integers(1, 2**64 - 1)),
    sparse_map=sparse_maps,
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
