"""Keyed channels of a server with a trace: they work as ever, and are told of in the clear."""

from __future__ import annotations

from random import Random

from tests.net.observers import Listening
from udpft.protocol.contract import Batch, TransferIds, Transmit
from udpft.protocol.keyed.channel import ClientChannel, KeyedAcceptor
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.fin import Fin, encode_fin
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.packet import PacketType
from udpft.protocol.wire.retry import Retry, encode_retry
from udpft.trace.keyed import TracedAcceptor

KEY, NONCE = bytes(range(32)), 17


def test_what_is_sealed_and_opened_is_told_in_the_clear() -> None:
    draw, observer = Random(1).randbytes, Listening()
    client = ClientChannel(KEY, Suite.AES_GCM, draw)
    acceptor = TracedAcceptor(KeyedAcceptor(KEY, Suite.AES_GCM, draw), observer)
    assert acceptor.read_hello_untrusted(memoryview(bytes(1300))) is None
    hello = encode_hello(Hello(NONCE, 7, b"x", 2048, 9), 1200)
    retry = encode_retry(Retry(NONCE, bytes(16), 1256, 1, 0), 7)
    accept = encode_accept(Accept(NONCE, 5, 1144, 99, 0, 1), 7, 1136)
    fin = encode_fin(PacketType.FIN, Fin(9, bytes(16)), 7, NONCE)
    fin_ack = encode_fin(PacketType.FIN_ACK, Fin(9, bytes(16)), 5, NONCE)

    def opened(datagram: bytes | memoryview) -> list[bytes]:
        batches = client.open_untrusted(Batch.of(bytes(datagram)))
        return [bytes(batch.buffer[: batch.length]) for batch in batches]

    asked = client.seal(Transmit(memoryview(hello), len(hello)))
    assert asked
    channel = acceptor.read_hello_untrusted(memoryview(bytes(asked.data)))
    assert channel
    assert opened(channel.seal_retry(retry)) == [retry]
    channel.begin(accept, TransferIds(7, 5, NONCE))
    assert opened(channel.seal(Transmit(memoryview(accept), len(accept))).data) == [accept]
    assert opened(channel.seal(Transmit(memoryview(fin), len(fin))).data) == [fin]
    sealed = client.seal(Transmit(memoryview(fin_ack), len(fin_ack)))
    assert sealed
    assert channel.open_untrusted(Batch.of(bytes(sealed.data)))
    assert channel.open_untrusted(Batch.of(bytes(sealed.data))) is None, "it was here before"
    assert channel.bytes_sealed > 0
    assert [one[:2] for one in observer.packets] == [
        (False, hello),
        (True, retry),
        (True, accept),
        (True, fin),
        (False, fin_ack),
    ]
