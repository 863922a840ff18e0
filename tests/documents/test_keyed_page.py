"""Values of a keyed transfer that docs/protocol.md shows, computed anew."""

from __future__ import annotations

from tests.documents.test_documents import CLIENT_ID, NONCE, PROTOCOL, SERVER_ID, rows, section
from udpft.protocol.contract import TransferIds, Transmit
from udpft.protocol.keyed.channel import ClientChannel, KeyedAcceptor, ServerChannel
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.keyed.notice import KeyedType
from udpft.protocol.params import KEYED_HELLO_OVERHEAD, MIN_DATAGRAM_SIZE, SEAL_OVERHEAD
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.fin import Fin, encode_fin
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.packet import PacketType
from udpft.protocol.wire.retry import Retry, encode_retry

KEY = bytes(range(32))
DIGEST = bytes.fromhex("9971eb1c3b12ede38249f96e1204d927")
HELLO = encode_hello(Hello(NONCE, CLIENT_ID, b"hello.txt", 2048, 200_000), 1144)
RETRY = encode_retry(Retry(NONCE, bytes(16), 1200, 1, 0), CLIENT_ID)
ACCEPT = encode_accept(Accept(NONCE, SERVER_ID, 1144, 16, 0, 0), CLIENT_ID, 1136)
FIN = encode_fin(PacketType.FIN, Fin(16, DIGEST), CLIENT_ID, NONCE)


def seal(channel: ClientChannel | ServerChannel, packet: bytes) -> bytes:
    transmit = channel.seal(Transmit(memoryview(packet), len(packet)))
    assert transmit
    return bytes(transmit.data)


def values() -> list[bytes]:
    """What the page shows, computed from its letters."""
    client = ClientChannel(KEY, Suite.AES_GCM, lambda count: b"C" * count)
    letters = {32: b"S", 12: b"N"}
    acceptor = KeyedAcceptor(KEY, Suite.AES_GCM, lambda count: letters[count] * count)
    hello = seal(client, HELLO)
    channel = acceptor.read_hello_untrusted(memoryview(hello))
    assert channel
    retry = channel.seal_retry(RETRY)
    channel.begin(ACCEPT, TransferIds(CLIENT_ID, SERVER_ID, NONCE))
    answer, fin = seal(channel, ACCEPT), seal(channel, FIN)
    return [hello[8:40], hello[-16:], retry[-16:], answer[16:48], answer[-16:], fin]


def test_keyed_values_are_as_shown() -> None:
    shown = [row[1] for row in rows(section(PROTOCOL, "### Keyed values to test against"))]
    assert shown == [value.hex(" ") for value in values()]


def test_keyed_types_are_as_shown() -> None:
    shown = [row for row in rows(section(PROTOCOL, "### Keyed packets")) if row[0].startswith("0x")]
    assert [(int(row[0], 16), row[1].split()[-1]) for row in shown] == [
        (int(type_), type_.name) for type_ in KeyedType
    ]


def test_suites_are_as_shown() -> None:
    table = rows(section(PROTOCOL, "### Keyed packets"))
    shown = [row for row in table if row[-1].startswith("4 zeros, then the counter")]
    suites = (Suite.AES_GCM, Suite.CHACHA_POLY)
    assert [int(row[0]) for row in shown] == list(suites)
    assert [row[1].startswith("AES-256-GCM") for row in shown] == [True, False]
    assert ["big-endian" in row[2] for row in shown] == [one.byte_order == "big" for one in suites]


def test_keyed_sizes_are_as_shown() -> None:
    text = " ".join(section(PROTOCOL, "### Keyed packets").split())
    assert f"padded to {KEYED_HELLO_OVERHEAD} bytes less" in text
    assert f"less {SEAL_OVERHEAD} + 24" in text
    assert len(HELLO) == MIN_DATAGRAM_SIZE - KEYED_HELLO_OVERHEAD
