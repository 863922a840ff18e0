"""Sealed socket of a client that has a key."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.protocol.keyed.test_channel import ACCEPT, CLIENT_ID, HELLO, KEY, SERVER_ID, Draw
from tests.samples import PATIENCE_S
from udpft.errors import KeyRejected
from udpft.net import sealed as sealed_module
from udpft.net.sealed import SealedSocket
from udpft.net.udp import UdpSocket, wait
from udpft.protocol.contract import TransferIds, Transmit
from udpft.protocol.keyed.channel import ClientChannel, KeyedAcceptor
from udpft.protocol.keyed.noise import Suite
from udpft.protocol.keyed.notice import no_key_notice


@pytest.fixture
def client(stranger: socket.socket) -> Iterator[SealedSocket]:
    """A keyed socket, connected to a stranger."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(stranger.getsockname())
    channel = ClientChannel(KEY, Suite.AES_GCM, Draw(1))
    sealed = SealedSocket(UdpSocket(sock), channel)
    yield sealed
    sealed.close()


def hello_to(stranger: socket.socket, client: SealedSocket) -> tuple[bytes, tuple[str, int]]:
    """Have the client say HELLO; what comes of it, and its address."""
    assert client.send(Transmit(memoryview(HELLO), len(HELLO))) is None
    datagram, address = stranger.recvfrom(65_536)
    return datagram, address


def test_what_is_sealed_comes_out_packet_by_packet(
    stranger: socket.socket, client: SealedSocket
) -> None:
    datagram, address = hello_to(stranger, client)
    acceptor = KeyedAcceptor(KEY, Suite.AES_GCM, Draw(2))
    channel = acceptor.read_hello_untrusted(memoryview(datagram))
    assert channel
    channel.begin(ACCEPT, TransferIds(CLIENT_ID, SERVER_ID, 7))
    packet = bytes([0x84, 0, 0, 0]) + CLIENT_ID.to_bytes(4, "little") + bytes(1000)
    for what in (ACCEPT, packet):
        stranger.sendto(b"noise", address)
        stranger.sendto(channel.seal(Transmit(memoryview(what), len(what))).data, address)
    came: list[bytes] = []
    while len(came) < 2:
        assert wait([client], [], PATIENCE_S)
        while received := client.receive():
            came.append(bytes(client.buffer[: received.length]))
    assert came == [ACCEPT, packet]


def test_what_found_no_room_leaves_later_as_it_was_sealed(
    client: SealedSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed: list[bytes] = []
    left: list[bytes] = []
    seal = client._channel.seal

    def note_and_seal(transmit: Transmit) -> Transmit | None:
        result = seal(transmit)
        assert result
        sealed.append(bytes(result.data))
        return result

    def send_half(transmit: Transmit) -> Transmit | None:
        half = -(-len(transmit.data) // 2)
        left.append(bytes(transmit.data[:half]))
        rest = transmit.data[half:]
        return transmit._replace(data=rest) if rest else None

    monkeypatch.setattr(client._channel, "seal", note_and_seal)
    monkeypatch.setattr(client._socket, "send", send_half)
    assert client.send(Transmit(memoryview(HELLO), len(HELLO))) is None
    assert len(left) > 5
    assert [b"".join(left)] == sealed


def test_that_there_is_no_key_is_believed_after_a_while(
    stranger: socket.socket, client: SealedSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(sealed_module, "clock", lambda: now[0])
    datagram, address = hello_to(stranger, client)
    stranger.sendto(no_key_notice(memoryview(datagram)), address)
    assert wait([client], [], PATIENCE_S)
    assert client.receive() is None
    now[0] = 0.9
    assert client.receive() is None
    now[0] = 1.1
    with pytest.raises(KeyRejected):
        client.receive()
