"""Keyed channels: both ends of a conversation, datagram by datagram."""

from __future__ import annotations

import gc
from types import FunctionType, ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.contract import Batch, TransferIds, Transmit
from udpft.protocol.keyed import noise
from udpft.protocol.keyed.channel import (
    MAX_HELLOS_REMEMBERED,
    ClientChannel,
    KeyedAcceptor,
    ServerChannel,
)
from udpft.protocol.keyed.noise import Handshake, Suite
from udpft.protocol.keyed.notice import KeyedType, no_key_notice
from udpft.protocol.params import (
    KEYED_ANSWER_OVERHEAD,
    KEYED_HELLO_OVERHEAD,
    KEYED_RETRY_OVERHEAD,
    MIN_DATAGRAM_SIZE,
)
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.packet import decode_untrusted
from udpft.protocol.wire.retry import Retry, encode_retry
from udpft.testing.network import random_bytes

KEY = random_bytes(32)
CLIENT_ID, SERVER_ID = 0xC0FFEE01, 0x5EA51DE5
SIZE = MIN_DATAGRAM_SIZE - KEYED_HELLO_OVERHEAD
HELLO = encode_hello(Hello(7, CLIENT_ID, b"file", 2048, 65_536), SIZE)
RETRY = encode_retry(Retry(7, bytes(16), MIN_DATAGRAM_SIZE, 1, 0), CLIENT_ID)
ACCEPT = encode_accept(Accept(7, SERVER_ID, 1144, 5, 0, 0), CLIENT_ID, 1100)


class Draw:
    """Bytes that nobody has seen before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, count: int) -> bytes:
        self._seed += 1
        return random_bytes(count, self._seed)


def ends(suite: Suite = Suite.AES_GCM) -> tuple[ClientChannel, KeyedAcceptor]:
    return ClientChannel(KEY, suite, Draw(1_000)), KeyedAcceptor(KEY, Suite.AES_GCM, Draw(2_000))


def seal(channel: ClientChannel | ServerChannel, packet: bytes) -> bytes:
    sealed = channel.seal(Transmit(memoryview(packet), len(packet)))
    assert sealed
    return bytes(sealed.data)


def opened(channel: ClientChannel, datagram: bytes) -> bytes:
    """What a client sees of a datagram."""
    opened = channel.open_untrusted(Batch.of(datagram))
    return b"".join(bytes(piece.buffer[: piece.length]) for piece in opened)


def channel_for(acceptor: KeyedAcceptor, datagram: bytes) -> ServerChannel:
    channel = acceptor.read_hello_untrusted(memoryview(datagram))
    assert channel
    return channel


def begun() -> tuple[ClientChannel, KeyedAcceptor, ServerChannel]:
    """Two ends that have agreed to a transfer."""
    client, acceptor = ends()
    channel = channel_for(acceptor, seal(client, HELLO))
    channel.begin(ACCEPT, TransferIds(CLIENT_ID, SERVER_ID, 7))
    assert opened(client, seal(channel, ACCEPT)) == ACCEPT
    return client, acceptor, channel


def test_a_hello_is_read_by_the_server_and_its_retry_by_the_client() -> None:
    client, acceptor = ends()
    sealed = seal(client, HELLO)
    assert len(sealed) == len(HELLO) + KEYED_HELLO_OVERHEAD
    channel = channel_for(acceptor, sealed)
    assert channel.hello == HELLO
    retry = channel.seal_retry(RETRY)
    assert len(retry) == len(RETRY) + KEYED_RETRY_OVERHEAD
    assert opened(client, retry) == RETRY


def test_the_answer_and_all_that_follows() -> None:
    client, _, channel = begun()
    assert len(seal(channel, ACCEPT)) == len(ACCEPT) + KEYED_ANSWER_OVERHEAD
    downward = bytes([0x84, 0, 0, 0]) + CLIENT_ID.to_bytes(4, "little") + b"down"
    upward = bytes([0x85, 0, 0, 0]) + SERVER_ID.to_bytes(4, "little") + b"up"
    assert opened(client, seal(channel, downward)) == downward
    batch = channel.open_untrusted(Batch.of(seal(client, upward)))
    assert batch
    assert batch.buffer.startswith(upward)


def test_accept_and_the_data_behind_it_may_come_joined() -> None:
    client, acceptor = ends()
    channel = channel_for(acceptor, seal(client, HELLO))
    data = bytes([0x84, 0, 0, 0]) + CLIENT_ID.to_bytes(4, "little") + bytes(1124)
    channel.begin(ACCEPT, TransferIds(CLIENT_ID, SERVER_ID, 7))
    joined = bytearray(seal(channel, ACCEPT) + seal(channel, data) + seal(channel, data))
    size = len(ACCEPT) + KEYED_ANSWER_OVERHEAD
    pieces = []
    for piece in client.open_untrusted(Batch(joined, len(joined), size)):
        pieces.append((bytes(piece.buffer[: piece.length]), piece.segment_size))
    assert pieces == [(ACCEPT, len(ACCEPT)), (data * 2, len(data))]


def test_an_error_is_an_answer_too() -> None:
    client, acceptor = ends()
    error = encode_error(Refusal(7, ErrorCode.NOT_FOUND, "no such file"), CLIENT_ID)
    channel = channel_for(acceptor, seal(client, HELLO))
    assert opened(client, channel.seal_answer(error)) == error


def test_a_repeated_accept_leaves_as_it_did_the_first_time() -> None:
    _, _, channel = begun()
    assert seal(channel, ACCEPT) == seal(channel, ACCEPT)


def test_what_is_for_no_transfer_is_not_sent() -> None:
    client, _ = ends()
    packet = bytes([0x85, 0, 0, 0]) + SERVER_ID.to_bytes(4, "little")
    assert client.seal(Transmit(memoryview(packet), len(packet))) is None


def test_the_same_hello_is_never_sealed_alike() -> None:
    client, _ = ends()
    assert len({seal(client, HELLO)[8:40] for _ in range(20)}) == 20


def test_a_source_that_has_not_come_back_costs_no_exponentiation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, acceptor = ends()
    hello = seal(client, HELLO)
    monkeypatch.setattr(noise, "X25519PrivateKey", None)
    monkeypatch.setattr(noise, "X25519PublicKey", None)
    channel = channel_for(acceptor, hello)
    retry = channel.seal_retry(RETRY)
    with pytest.raises(AttributeError):  # an answer costs some
        channel.seal_answer(ACCEPT)
    monkeypatch.undo()
    assert opened(client, retry) == RETRY


def test_the_same_retry_is_never_sealed_alike() -> None:
    client, acceptor = ends()
    sealed = seal(client, HELLO)
    assert len({channel_for(acceptor, sealed).seal_retry(RETRY)[16:28] for _ in range(20)}) == 20


@pytest.mark.parametrize("other", [KEY[:31] + b"\0", bytes(32)])
def test_another_key_opens_nothing(other: bytes) -> None:
    client, acceptor = ends()
    stranger = ClientChannel(other, Suite.AES_GCM, Draw(3_000))
    assert acceptor.read_hello_untrusted(memoryview(seal(stranger, HELLO))) is None
    retry = channel_for(acceptor, seal(client, HELLO)).seal_retry(RETRY)
    assert opened(stranger, retry) == b""


@given(at=st.integers(0, MIN_DATAGRAM_SIZE - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_a_hello_draws_silence(at: int, bit: int) -> None:
    client, acceptor = ends()
    damaged = bytearray(seal(client, HELLO))
    damaged[at] ^= 1 << bit
    assert acceptor.read_hello_untrusted(memoryview(damaged)) is None


@given(at=st.integers(0, 87), bit=st.integers(0, 7), answer=st.booleans())
def test_a_flipped_bit_anywhere_in_an_answer_drops_it(at: int, bit: int, answer: bool) -> None:
    client, acceptor = ends()
    channel = channel_for(acceptor, seal(client, HELLO))
    packet = channel.seal_answer(RETRY) if answer else channel.seal_retry(RETRY)
    damaged = bytearray(packet)
    damaged[at] ^= 1 << bit
    assert opened(client, damaged) == b""
    assert opened(client, packet) == RETRY


@given(datagram=st.binary(max_size=200), type_=st.sampled_from([*KeyedType, 0x81, 0x88]))
def test_any_bytes_at_all_are_dropped(datagram: bytes, type_: int) -> None:
    client, acceptor, channel = begun()
    datagram = bytes([type_]) + datagram
    assert opened(client, datagram) == b""
    assert acceptor.read_hello_untrusted(memoryview(datagram.ljust(1200, b"\0"))) is None
    assert channel.open_untrusted(Batch.of(datagram)) is None


def test_an_answer_counts_once() -> None:
    client, acceptor = ends()
    answer = channel_for(acceptor, seal(client, HELLO)).seal_answer(RETRY)
    assert opened(client, answer) == RETRY
    assert opened(client, answer) == b""


def test_a_client_remembers_so_many_hellos() -> None:
    client, acceptor = ends()
    hellos = [seal(client, HELLO) for _ in range(MAX_HELLOS_REMEMBERED + 1)]
    answers = [channel_for(acceptor, hello).seal_answer(RETRY) for hello in hellos]
    assert [bool(opened(client, answer)) for answer in answers] == [False] + [True] * (
        MAX_HELLOS_REMEMBERED
    )


def test_the_server_says_which_suite_it_would_like() -> None:
    client, _ = ends(Suite.AES_GCM)
    slow = KeyedAcceptor(KEY, Suite.CHACHA_POLY, Draw(2_000))
    first = seal(client, HELLO)
    assert first[2] == Suite.AES_GCM
    assert opened(client, channel_for(slow, first).seal_retry(RETRY)) == RETRY
    second = seal(client, HELLO)
    assert second[2] == Suite.CHACHA_POLY
    assert channel_for(slow, second).hello == HELLO


def test_a_server_without_a_key_is_believed_until_one_with_it_answers() -> None:
    client, acceptor = ends()
    sealed = seal(client, HELLO)
    notice = no_key_notice(memoryview(sealed))
    assert len(notice) < 0.1 * len(sealed)
    refusal = decode_error_untrusted(decode_untrusted(memoryview(notice)))
    assert refusal.code is ErrorCode.NO_KEY
    assert opened(client, no_key_notice(memoryview(bytes(1200)))) == b""
    assert not client.server_has_no_key
    assert opened(client, notice) == b""
    assert client.server_has_no_key
    channel = channel_for(acceptor, sealed)
    channel.begin(ACCEPT, TransferIds(CLIENT_ID, SERVER_ID, 7))
    assert opened(client, seal(channel, ACCEPT)) == ACCEPT
    assert not client.server_has_no_key
    assert opened(client, notice) == b""
    assert not client.server_has_no_key


# ------------------------------------------------------------------------ secrets that are dropped


def reachable(root: object) -> list[object]:
    """All that an object holds, however deep, but code."""
    found: dict[int, object] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in found or isinstance(one, (type, ModuleType, FunctionType)):
            continue
        found[id(one)] = one
        waiting += gc.get_referents(one)
    return list(found.values())


def secrets_of(root: object) -> tuple[list[Handshake], list[X25519PrivateKey], set[bytes]]:
    """Handshakes, ephemeral keys and 32-byte strings that an object still holds."""
    held = reachable(root)
    return (
        [one for one in held if isinstance(one, Handshake)],
        [one for one in held if isinstance(one, X25519PrivateKey)],
        {one for one in held if isinstance(one, bytes) and len(one) == 32},
    )


def test_when_a_transfer_begins_the_handshakes_secrets_are_dropped() -> None:
    # Of a machine taken over later, no recording of a transfer before is opened with them.
    client, acceptor = ends()
    for _ in range(3):
        seal(client, HELLO)  # repeats that are never answered
    channel = channel_for(acceptor, seal(client, HELLO))
    handshakes, ephemerals, chaining = secrets_of(client)
    assert (len(handshakes), len(ephemerals)) == (4, 4)
    acceptor_keys = secrets_of(acceptor)[2]
    server_before = secrets_of(channel._handshake)[2]
    channel.begin(ACCEPT, TransferIds(CLIENT_ID, SERVER_ID, 7))
    assert opened(client, seal(channel, ACCEPT)) == ACCEPT

    handshakes, ephemerals, left = secrets_of(client)
    assert handshakes == []
    assert ephemerals == []
    assert left & chaining <= {KEY}  # what the next transfer needs
    channel._acceptor = None  # type: ignore[assignment]  # which holds what all transfers begin with
    handshakes, ephemerals, left = secrets_of(channel)
    assert handshakes == []
    assert ephemerals == []
    assert not left & (server_before | acceptor_keys)


def test_after_the_keys_of_a_transfer_a_handshake_gives_no_more() -> None:
    handshake = Handshake(Suite.AES_GCM, KEY, b"")
    handshake.write_first(b"", bytes(range(32)))
    before = secrets_of(handshake)[2] - {handshake.hash}
    keys = set(handshake.split())
    _, ephemerals, left = secrets_of(handshake)
    assert ephemerals == []
    assert not left & (before | keys)


def test_a_client_still_reads_the_last_four_of_its_transfers() -> None:
    client, acceptor = ends()
    transfers = []
    for number in range(5):
        channel = channel_for(acceptor, seal(client, HELLO))
        accept = encode_accept(Accept(7, SERVER_ID + number, 1144, 5, 0, 0), CLIENT_ID + number, 9)
        channel.begin(accept, TransferIds(CLIENT_ID + number, SERVER_ID + number, 7))
        assert opened(client, seal(channel, accept)) == accept
        transfers.append((number, channel))
    for number, channel in transfers:
        words = bytes([0x84, 0, 0, 0]) + (CLIENT_ID + number).to_bytes(4, "little") + b"late"
        assert opened(client, seal(channel, words)) == (words if number else b"")


def test_the_next_transfer_of_a_client_begins_anew() -> None:
    client, acceptor, _ = begun()
    channel = channel_for(acceptor, seal(client, HELLO))
    channel.begin(ACCEPT, TransferIds(CLIENT_ID, SERVER_ID, 7))
    assert opened(client, seal(channel, ACCEPT)) == ACCEPT
