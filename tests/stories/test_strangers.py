"""Stories of attackers off the path, who get nothing done in another address's name."""

from __future__ import annotations

from random import Random

import pytest

from udpft.errors import PartialTransfer
from udpft.protocol.handshake.initiator import probe_sizes
from udpft.protocol.keyed.notice import KeyedType, no_key_notice
from udpft.protocol.params import (
    COOKIE_EPOCH_S,
    MAX_BURST_BYTES,
    MIN_DATAGRAM_SIZE,
    RETRY_MAX_SIZE,
)
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.data import ACK_REQUEST, BurstWriter, data_common
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.fin import Fin, encode_fin
from udpft.protocol.wire.hello import Hello, decode_hello_untrusted, encode_hello
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import SERVER, Shape, SimNet, SimulatedClient, random_bytes

SIZE = 2**20 + 3
CONTENT = random_bytes(SIZE)
PACED = Shape(rate_bytes_per_s=2e6, queue_bytes=100_000)


def in_mid_transfer() -> tuple[SimNet, SimulatedClient, Accept]:
    """A transfer at work, and what the server said of it."""
    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file")
    net.run_to(0.2)
    assert client.handshake is not None
    return net, client, client.handshake.accept


def hello_of(net: SimNet) -> bytes:
    """The HELLO with a cookie that let the client in."""
    return net.up.packets(PacketType.HELLO)[-1]


# ------------------------------------------------------------------- sources that nobody vouches


def test_a_flood_from_spoofed_sources_draws_a_fraction_and_leaves_no_state() -> None:
    net = SimNet({"file": CONTENT})
    for n in range(500):
        hello = Hello(nonce=n, connection_id=n, name=b"file", chunk_size=2048, receive_room=10**9)
        for size in probe_sizes(2048):
            net.inject(encode_hello(hello, size), net.up, f"victim-{n}", SERVER)
    net.run_to(60.0)
    assert net.up.sent_bytes > 500 * MIN_DATAGRAM_SIZE
    assert net.down.sent_bytes <= net.up.sent_bytes * RETRY_MAX_SIZE / MIN_DATAGRAM_SIZE
    assert set(net.down.packet_counts()) == {PacketType.RETRY}
    assert len(net.listener) == 0
    assert net.listener.next_timeout() is None


def test_a_flood_does_not_stop_a_transfer() -> None:
    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file")
    random = Random(7)
    for moment in range(1, 60):
        net.run_to(moment / 100)
        for size in probe_sizes(2048):
            hello = Hello(random.getrandbits(64), random.getrandbits(32), b"file", 2048, 0)
            net.inject(encode_hello(hello, size), net.up, f"victim-{moment}", SERVER)
    net.run()
    assert client.content == CONTENT
    assert len(net.ended) + len(net.listener) == 1


@pytest.mark.parametrize("first_byte", [0x00, 0x41, 0x80, 0x81, 0x84, 0x85, 0xBF, 0xFF])
def test_garbage_draws_no_answer(first_byte: int) -> None:
    net = SimNet({"file": CONTENT})
    random = Random(first_byte)
    for length in (1, 7, 8, 16, 47, 48, 1_199, 1_200, 2_072, 65_000):
        garbage = bytes([first_byte]) + random.randbytes(length - 1)
        net.inject(garbage, net.up, "somebody", SERVER)
    net.inject(b"", net.up, "somebody", SERVER)
    net.run_to(1.0)
    assert not net.down.sent


def test_a_hello_too_short_to_answer_is_not_answered() -> None:
    net = SimNet({"file": CONTENT})
    hello = Hello(nonce=1, connection_id=2, name=b"file", chunk_size=2048, receive_room=0)
    net.inject(encode_hello(hello, MIN_DATAGRAM_SIZE - 1), net.up, "somebody", SERVER)
    net.run_to(1.0)
    assert not net.down.sent


# --------------------------------------------------------------------------- HELLOs of others


@pytest.mark.parametrize("moment", ["during", "after"])
def test_a_hello_replayed_from_its_own_address_draws_nothing_new(moment: str) -> None:
    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file")
    if moment == "during":
        net.run_to(0.3)
    else:
        net.run()
        net.run_until_quiet()
    sessions = len(net.listener)
    accepts = len(net.down.packets(PacketType.ACCEPT))
    for _ in range(20):
        net.inject(hello_of(net), net.up, client.address, SERVER)
    net.run_to(net.now + 1.0)
    assert len(net.listener) <= sessions
    assert len(net.down.packets(PacketType.ACCEPT)) == accepts
    net.run()
    net.run_until_quiet()
    assert client.content == CONTENT
    assert len(net.ended) == 1


@pytest.mark.parametrize("other", ["10.0.0.2:5000", "10.0.0.1:5001", "10.0.0.1:50001", ""])
def test_a_cookie_is_worthless_at_another_address_or_port(other: str) -> None:
    net = SimNet({"file": CONTENT})
    net.get("file", address="10.0.0.1:5000")
    net.run()
    net.run_until_quiet()
    sent = len(net.down.sent)
    net.inject(hello_of(net), net.up, other, SERVER)
    net.run_to(net.now + 0.1)
    [answer] = net.down.sent[sent:]
    assert answer[0] == PacketType.RETRY
    assert len(net.listener) == 0


def test_a_cookie_is_worthless_for_a_larger_hello() -> None:
    # It vouches for the size that passed: another one has to be tried by itself.
    ethernet = Shape(mtu_payload=1472)
    net = SimNet({"file": CONTENT}, up=ethernet)
    client = net.get("file")
    net.run()
    hello = decode_hello_untrusted(decode_untrusted(memoryview(hello_of(net))))
    net.up.shape = Shape()
    net.run_until_quiet()
    sent = len(net.down.sent)
    larger = encode_hello(hello._replace(nonce=hello.nonce ^ 1), 2_072)
    net.inject(larger, net.up, client.address, SERVER)
    net.run_to(net.now + 0.1)
    [answer] = net.down.sent[sent:]
    assert answer[0] == PacketType.RETRY


def test_a_cookie_expires() -> None:
    net = SimNet({"file": CONTENT})
    client = net.get("file")
    net.run()
    net.run_until_quiet()
    hello = decode_hello_untrusted(decode_untrusted(memoryview(hello_of(net))))

    def sessions_begun_by(nonce: int) -> int:
        begun = len(net.ended) + len(net.listener)
        again = encode_hello(hello._replace(nonce=nonce), len(hello_of(net)))
        net.inject(again, net.up, client.address, SERVER)
        net.run_to(net.now + 0.05)
        return len(net.ended) + len(net.listener) - begun

    assert sessions_begun_by(1) == 1
    net.run_to(net.now + 2 * COOKIE_EPOCH_S)
    assert sessions_begun_by(2) == 0


def test_a_hello_with_a_good_cookie_and_another_role_is_refused_politely() -> None:
    net = SimNet({"file": CONTENT})
    client = net.get("file")
    net.run()
    hello = decode_hello_untrusted(decode_untrusted(memoryview(hello_of(net))))
    put = encode_hello(hello._replace(nonce=1, role=9), len(hello_of(net)))
    net.inject(put, net.up, client.address, SERVER)
    net.run_to(net.now + 0.1)
    assert net.down.sent[-1][0] == PacketType.ERROR
    assert len(net.ended) + len(net.listener) == 1


# ------------------------------------------------------------------------ packets of no session


def forgeries(connection_id: int, random: Random, nonce: int | None = None) -> list[bytes]:
    """One well-formed packet of each kind that could do harm, for a connection id."""
    nonce = random.getrandbits(64) if nonce is None else nonce
    writer = BurstWriter(2048, bytearray(MAX_BURST_BYTES), nonce)
    slots = writer.slots(1, 2048)
    slots[0][:] = random.randbytes(2048)
    common = data_common(connection_id, ACK_REQUEST)
    data, _ = writer.seal(common, common, 3, range(5, 6), slots)
    fin = Fin(SIZE, random.randbytes(16))
    ack = Ack(0.0, 0, 0, 0, [(0, 1)])
    refusal = Refusal(nonce, ErrorCode.CANCELLED, "go away")
    accept = Accept(nonce, random.getrandbits(32), 2048, SIZE, 0, 0)
    return [
        bytes(data),
        encode_ack(ack, connection_id, nonce),
        encode_fin(PacketType.FIN, fin, connection_id, nonce),
        encode_fin(PacketType.FIN_ACK, fin, connection_id, nonce),
        encode_error(refusal, connection_id),
        encode_accept(accept, connection_id, 2072),
    ]


def test_packets_with_a_guessed_connection_id_change_nothing() -> None:
    net = SimNet({"file": CONTENT}, down=PACED)
    client = net.get("file")
    random = Random(11)
    for moment in range(1, 50):
        net.run_to(moment / 100)
        for forged in forgeries(random.getrandbits(32), random):
            net.inject(forged, net.down, SERVER, client.address)
            net.inject(forged, net.up, client.address, SERVER)
    net.run()
    assert client.content == CONTENT
    net.run_until_quiet()
    assert [ended.error for ended in net.ended] == [None]


def test_packets_with_the_right_connection_id_from_another_address_change_nothing() -> None:
    net, client, accept = in_mid_transfer()
    connection_id, nonce = accept.connection_id, accept.nonce
    for forged in forgeries(connection_id, Random(12), nonce):
        net.inject(forged, net.up, "somebody-else", SERVER)
    optimistic = Ack(0.0, 10**6, 2**31, 0, [(0, 2**31)])
    net.inject(encode_ack(optimistic, connection_id, nonce), net.up, "somebody-else", SERVER)
    net.run()
    assert client.content == CONTENT
    net.run_until_quiet()
    assert [ended.error for ended in net.ended] == [None]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_packets_with_the_right_connection_id_and_address_need_the_nonce_too(seed: int) -> None:
    # All that somebody can guess or see who is not on the path; what he says is false.
    net = SimNet({"file": CONTENT}, seed=seed, down=PACED)
    client = net.get("file")
    net.run_while(lambda: client.handshake is None)
    assert client.handshake is not None
    servers_id = client.handshake.accept.connection_id
    clients_id = int.from_bytes(net.down.packets(PacketType.ACCEPT)[0][4:8], "little")
    random = Random(seed)
    for moment in range(5, 50):
        net.run_to(moment / 100)
        for forged in forgeries(clients_id, random):
            net.inject(forged, net.down, SERVER, client.address)
        for forged in forgeries(servers_id, random):
            net.inject(forged, net.up, client.address, SERVER)
        lie = Ack(0.0, 10**6, 2**31, 0, [(0, 2**31)])
        net.inject(
            encode_ack(lie, servers_id, random.getrandbits(64)), net.up, client.address, SERVER
        )
    net.run()
    assert client.content == CONTENT
    net.run_until_quiet()
    assert [(ended.error, ended.confirmed) for ended in net.ended] == [(None, True)]


def test_an_error_with_a_wrong_nonce_ends_nothing() -> None:
    net, client, accept = in_mid_transfer()
    lie = Refusal(accept.nonce ^ 1, ErrorCode.CANCELLED, "go away")
    client_id = int.from_bytes(net.down.packets(PacketType.ACCEPT)[0][4:8], "little")
    net.inject(encode_error(lie, accept.connection_id), net.up, client.address, SERVER)
    net.inject(encode_error(lie, client_id), net.down, SERVER, client.address)
    net.run()
    assert client.content == CONTENT


# ------------------------------------------------------------------------- peers that cheat


@pytest.mark.parametrize(
    "lie",
    [
        Ack(0.0, 10**6, 0, 0, [(0, 2**31)]),
        Ack(0.0, 10**6, 2**31, 0, [(0, 1)]),
    ],
    ids=["packets never sent", "chunks that are not there"],
)
def test_acknowledging_what_was_never_sent_ends_the_session(lie: Ack) -> None:
    net, client, accept = in_mid_transfer()
    forged = encode_ack(lie, accept.connection_id, accept.nonce)
    net.inject(forged, net.up, client.address, SERVER)
    net.run()
    assert isinstance(client.error, PartialTransfer)
    [ended] = net.ended
    assert isinstance(ended.error, PartialTransfer)
    assert "never sent" in str(ended.error)
    assert net.sources["file"].closed


def test_a_wrong_fin_ack_does_not_end_the_session() -> None:
    net, client, accept = in_mid_transfer()
    connection_id, nonce = accept.connection_id, accept.nonce
    wrong = encode_fin(PacketType.FIN_ACK, Fin(SIZE, bytes(16)), connection_id, nonce)
    net.inject(wrong, net.up, client.address, SERVER)
    net.run()
    assert client.content == CONTENT


# ------------------------------------------------------------------- servers that answer servers


def test_nothing_that_a_server_says_draws_a_word_from_another_server() -> None:
    # Else a forged source would set the two on each other for good.
    net = SimNet({"file": CONTENT})
    net.get("file")
    net.get("another")
    net.run()
    kinds = {PacketType(one[0]) for one in net.down.sent}
    assert kinds >= {PacketType.RETRY, PacketType.ACCEPT, PacketType.ERROR, PacketType.FIN}
    keyed_hello = bytes([KeyedType.HELLO]) + bytes(1_391)
    said = [*net.down.sent, *forgeries(1, Random(1)), no_key_notice(memoryview(keyed_hello))]
    said += [bytes([kind]) + bytes(1_391) for kind in (0x92, 0x93, 0x94)]
    other = SimNet({"file": CONTENT})
    for one in said:
        other.inject(one, other.up, "another server", SERVER)
    other.run_to(30.0)
    assert other.down.sent == []
    assert len(other.listener) == 0
