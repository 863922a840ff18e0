"""Server and strangers: recorded datagrams, replayed or mutated, draw nothing out of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue
from random import Random

import pytest

import udpft
from tests.loopback import meanwhile
from tests.samples import LARGE, PATIENCE_S, sample
from udpft.api import RunningServer
from udpft.outcome.served import Served
from udpft.protocol.params import MIN_DATAGRAM_SIZE
from udpft.protocol.wire.packet import PacketType, encode
from udpft.testing import LossyLink, Seen

MUTATIONS = 4_000
_AT_A_TIME = 100


@contextmanager
def strangers(count: int) -> Iterator[list[socket.socket]]:
    """Sockets on addresses of loopback that nobody else has."""
    with ExitStack() as stack:
        sockets = []
        for n in range(count):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind((f"127.0.{n % 3 + 1}.{n % 200 + 1}", 0))
            sock.setblocking(False)
            sockets.append(sock)
        yield sockets


def drawn(server: RunningServer, datagrams: list[bytes]) -> list[list[bytes]]:
    """Answers that each datagram draws, sent from a source of its own."""
    with strangers(len(datagrams)) as sockets:
        for sock, datagram in zip(sockets, datagrams, strict=True):
            sock.sendto(datagram, (server.host, server.port))
        udpft.ping(server.address)  # it takes them in turn: then it has had all of them
        return [list(received(sock)) for sock in sockets]


def received(sock: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield sock.recv(65_536)
        except BlockingIOError:
            return


def mutated(said: list[bytes], random: Random) -> bytes:
    """One of the datagrams as it was, or damaged, cut, spliced, or changed and well-formed."""
    datagram = bytearray(random.choice(said))
    kind = random.randrange(6)
    if kind == 1:
        for _ in range(random.randint(1, 8)):
            datagram[random.randrange(len(datagram))] ^= random.randrange(1, 256)
    elif kind == 2:
        del datagram[random.randrange(len(datagram)) :]
    elif kind == 3:
        datagram += random.randbytes(random.randrange(1_500))
    elif kind == 4:
        other = random.choice(said)
        datagram[: random.randrange(len(datagram))] = other[: random.randrange(len(other))]
    elif kind == 5 and len(datagram) > 16:  # a check that is right
        for _ in range(random.randint(1, 8)):
            datagram[random.randrange(16, len(datagram))] = random.randrange(256)
        type_ = random.choice(list(PacketType)) if random.random() < 0.3 else datagram[0]
        connection_id = int.from_bytes(datagram[4:8], "little")
        body = bytes(datagram[16:])
        return encode(PacketType(type_), connection_id, body, nonce=random.choice((0, 1)))
    return bytes(datagram)


@pytest.fixture
def recording(samples: Path, tmp_path: Path) -> Iterator[tuple[RunningServer, list[bytes]]]:
    """A server, and what a client has said to it in a whole transfer over a lossy path."""
    with udpft.serve(samples, port=0, max_rate=20_000_000) as server:
        said: list[bytes] = []
        last_words = threading.Event()

        def record(seen: Seen) -> None:
            if seen.from_client:
                said.append(seen.datagram)
                if seen.datagram[0] == PacketType.FIN_ACK:
                    last_words.set()

        with LossyLink(server, loss=0.05, seed=1, watch=record) as link:
            udpft.get(str(LARGE), server=link.address, output=tmp_path / "recorded")
            assert last_words.wait(PATIENCE_S)
        assert {datagram[0] for datagram in said} >= {PacketType.HELLO, PacketType.ACK}
        yield server, said


def test_a_recording_replayed_from_elsewhere_draws_less_than_it_costs(
    recording: tuple[RunningServer, list[bytes]],
) -> None:
    server, said = recording
    said = [*said[:200], *said[-20:]]  # its HELLOs, with and without cookie, are at the beginning
    answered = 0
    for at in range(0, len(said), _AT_A_TIME):
        part = said[at : at + _AT_A_TIME]
        for datagram, answers in zip(part, drawn(server, part), strict=True):
            assert sum(map(len, answers)) <= len(datagram)
            assert {answer[0] for answer in answers} <= {PacketType.RETRY}
            answered += len(answers)
    assert answered, "not even a HELLO was answered: nothing was tested"


def test_a_recording_changed_in_thousands_of_ways_draws_less_than_it_costs(
    tmp_path: Path, recording: tuple[RunningServer, list[bytes]]
) -> None:
    server, said = recording
    hellos = [datagram for datagram in said if datagram[0] == PacketType.HELLO]
    random = Random(2)
    answered = 0

    def fetch() -> None:
        udpft.get(str(LARGE), server=server.address, output=tmp_path / "meanwhile")

    with meanwhile(fetch):
        for _ in range(MUTATIONS // _AT_A_TIME):
            part = [mutated(random.choice((said, hellos)), random) for _ in range(_AT_A_TIME)]
            for datagram, answers in zip(part, drawn(server, part), strict=True):
                assert sum(map(len, answers)) <= len(datagram)
                assert len(answers) <= 1
                assert not answers or len(datagram) >= MIN_DATAGRAM_SIZE
                answered += len(answers)
    assert answered > MUTATIONS / 20
    assert (tmp_path / "meanwhile").read_bytes() == sample(LARGE)


def test_a_recording_replayed_from_its_own_source_begins_nothing(
    samples: Path, tmp_path: Path
) -> None:
    served: Queue[Served] = Queue()
    with udpft.serve(samples, port=0, on_served=served.put) as server:
        seen: list[Seen] = []
        with LossyLink(server, watch=seen.append) as link:
            udpft.get("2049", server=link.address, output=tmp_path)
            assert served.get(timeout=PATIENCE_S).name == "2049"
            [source] = link._backs
            for datagram in [one.datagram for one in seen if one.from_client] * 3:
                source.send(datagram)
            udpft.ping(server.address)
    # Who was served, was served once: its HELLO draws nothing as long as its cookie is good.
    assert served.empty()
