"""Bursts through real sockets on loopback, with the kernel's offloads and without."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest

from tests.ipv6 import needs_ipv6
from tests.samples import PATIENCE_S, sample
from udpft.net.udp import (
    IP_MTU_DISCOVER,
    IP_PMTUDISC_DONT,
    IP_PMTUDISC_PROBE,
    IPV6_MTU_DISCOVER,
    UDP_GRO,
    UdpSocket,
    wait,
)
from udpft.protocol.contract import Transmit
from udpft.protocol.params import MAX_BATCH_BYTES, MAX_SEND_BYTES, MAX_SEND_PACKETS

Open = Callable[..., UdpSocket]

FD_SETSIZE = 1024


def bound(kind: type[socket.socket] = socket.socket) -> socket.socket:
    sock = kind(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(PATIENCE_S)
    return sock


@pytest.fixture
def open_() -> Iterator[Open]:
    """Open sockets of ours, closed at the end."""
    with ExitStack() as stack:

        def open_one(sock: socket.socket | None = None, **options: Any) -> UdpSocket:
            udp = UdpSocket(sock or bound(), **options)
            stack.callback(udp.close)
            return udp

        yield open_one


@pytest.fixture
def foreign() -> Iterator[socket.socket]:
    """A socket as any program opens it: the kernel joins nothing for it."""
    with bound() as sock:
        yield sock


def burst(data: bytes, segment_size: int) -> Transmit:
    return Transmit(memoryview(data), segment_size)


def received(udp: UdpSocket) -> list[bytes]:
    """The datagrams of the next batch; they are there already, or about to be."""
    wait([udp], [], PATIENCE_S)
    batch = udp.receive()
    assert batch is not None
    data = bytes(udp.buffer[: batch.length])
    size = batch.segment_size
    return [data[at : at + size] for at in range(0, max(1, len(data)), size)]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


BURSTS = [
    (1, 1),
    (2072, 2072),
    (2072 * 4, 2072),
    (2072 * 4 + 24, 2072),
    (2072 * 31, 2072),
    (2072 * 31 * 3 + 7, 2072),  # more than one send takes
    (88 * MAX_SEND_PACKETS * 2, 88),
    (16_368 * 5, 16_368),
    (1200, 1448),
]


@pytest.mark.parametrize(("length", "segment_size"), BURSTS)
@pytest.mark.parametrize("offload", [True, False])
def test_a_burst_leaves_as_datagrams_of_one_size(
    open_: Open, foreign: socket.socket, length: int, segment_size: int, offload: bool
) -> None:
    foreign.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    data = sample(length)
    udp = open_(offload=offload)
    assert udp.send(burst(data, segment_size), foreign.getsockname()) is None
    expected = cut(data, segment_size)
    assert [foreign.recv(65_536) for _ in expected] == expected


@pytest.mark.parametrize(("length", "segment_size"), BURSTS)
@pytest.mark.parametrize("joining", [True, False])
def test_a_burst_arrives_as_it_left(
    open_: Open, length: int, segment_size: int, joining: bool
) -> None:
    data = sample(length)
    sender, receiver = open_(), open_(offload=joining)
    assert sender.send(burst(data, segment_size), receiver.address) is None
    datagrams: list[bytes] = []
    while len(datagrams) < len(cut(data, segment_size)):
        datagrams += received(receiver)
    assert datagrams == cut(data, segment_size)
    assert receiver.receive() is None


@pytest.mark.parametrize("offload", [True, False])
def test_a_connected_socket_needs_no_address(open_: Open, offload: bool) -> None:
    one, other = bound(), bound()
    one.connect(other.getsockname())
    other.connect(one.getsockname())
    left, right = open_(one, offload=offload), open_(other, offload=offload)
    left.send(burst(b"x" * 3000, 1000))
    assert b"".join(received(right)) == b"x" * 3000
    assert left.family == socket.AF_INET


# --------------------------------------------------------------------------------------- receiving


def test_nothing_is_none(open_: Open) -> None:
    assert open_().receive() is None


def test_what_is_cut_alike_and_from_one_address_is_one_batch(
    open_: Open, foreign: socket.socket
) -> None:
    udp = open_()
    with bound() as other:
        for sock, data in (
            (foreign, b"aaaa"),
            (foreign, b"bbbb"),
            (foreign, b"cc"),  # a shorter one ends a batch
            (foreign, b"dd"),
            (other, b"ee"),  # another address begins one
            (other, b"ffff"),  # a longer one as well
            (other, b""),
            (other, b""),
            (other, b"gggg"),
        ):
            sock.sendto(data, udp.address)
        batches = [received(udp) for _ in range(7)]
    assert batches == [
        [b"aaaa", b"bbbb", b"cc"],
        [b"dd"],
        [b"ee"],
        [b"ffff"],
        [b""],
        [b""],
        [b"gggg"],
    ]


def test_a_connected_socket_knows_what_can_leave_it(open_: Open, foreign: socket.socket) -> None:
    assert open_().largest_datagram() == inf
    connected = bound()
    connected.connect(foreign.getsockname())
    largest = open_(connected).largest_datagram()
    assert largest == min(65_535, loopback_mtu()) - 28


@needs_ipv6
def test_over_ipv6_headers_take_more(open_: Open) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.connect(("::1", 9))
    assert open_(sock).largest_datagram() == loopback_mtu() - 48


def loopback_mtu() -> int:
    return int(Path("/sys/class/net/lo/mtu").read_text())


def test_a_batch_says_whom_it_is_from(open_: Open, foreign: socket.socket) -> None:
    udp = open_()
    foreign.sendto(b"x", udp.address)
    batch = udp.receive()
    assert batch is not None
    assert batch.address == foreign.getsockname()


def test_a_batch_is_no_larger_than_its_buffer(open_: Open) -> None:
    sender, receiver = open_(), open_()
    data = sample(2072 * 31 * 8)
    for piece in cut(data, 2072 * 31):
        sender.send(burst(piece, 2072), receiver.address)
    lengths: list[int] = []
    while sum(lengths) < len(data):
        batch = receiver.receive()
        if batch is None:
            pytest.skip("the receive buffer here holds less")
        assert receiver.buffer[: batch.length] == data[sum(lengths) :][: batch.length]
        lengths.append(batch.length)
    assert len(lengths) > 1
    assert max(lengths) <= MAX_BATCH_BYTES


def test_the_queue_tells_its_room_and_its_drops(open_: Open, foreign: socket.socket) -> None:
    udp = open_()
    room, drops = udp.receive_queue()
    assert room > 50_000
    assert drops == 0
    rooms = [room]
    for _ in range(10):
        foreign.sendto(bytes(2072), udp.address)
        rooms.append(udp.receive_queue()[0])
    assert all(before > after for before, after in pairwise(rooms))
    while not udp.receive_queue()[1]:
        foreign.sendto(bytes(60_000), udp.address)
    assert udp.receive_queue()[0] < 60_000 * 2
    while udp.receive():
        pass
    assert udp.receive_queue() >= (room, 1)


def test_what_waits_in_a_connected_socket_takes_no_room(
    open_: Open, foreign: socket.socket
) -> None:
    # Its sender counts it as in flight already.
    connected = bound()
    connected.connect(foreign.getsockname())
    udp = open_(connected)
    before = udp.receive_queue()
    foreign.sendto(bytes(2072), udp.address)
    assert udp.receive_queue() == before


# ----------------------------------------------------------------------------------------- sending


def test_a_closed_port_is_an_error_of_a_connected_socket_only(open_: Open) -> None:
    with bound() as gone:
        address = gone.getsockname()
    connected = bound()
    connected.connect(address)
    udp = open_(connected)
    udp.send(burst(b"anybody?", 8))
    with pytest.raises(ConnectionRefusedError):
        udp.receive()
    udp.send(burst(b"anybody?", 8))
    with pytest.raises(ConnectionRefusedError):
        udp.send(burst(b"anybody?", 8))
    unconnected = open_()
    for _ in range(3):
        assert unconnected.send(burst(b"anybody?", 8), address) is None
        assert unconnected.receive() is None


def test_where_it_is_not_final_a_closed_port_is_counted_and_nothing_is_lost_for_it(
    open_: Open,
) -> None:
    # Anybody can say so in the other end's name (RFC 5927).
    with bound() as gone:
        address = gone.getsockname()
    connected = bound()
    connected.connect(address)
    udp = open_(connected)
    udp.refusal_is_final = False
    udp.send(burst(b"anybody?", 8))
    assert udp.receive() is None
    assert udp.refusals == 1
    udp.send(burst(b"anybody?", 8))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(address)
        back.settimeout(PATIENCE_S)
        # The other end is back, and the news that it was gone is still on its way.
        assert udp.send(burst(b"123456789", 3)) is None
        assert udp.refusals == 2
        assert b"".join(back.recv(100) for _ in range(3)) == b"123456789"
        back.sendto(b"here", udp.address)
        received = udp.receive()
        assert received
        assert bytes(received.buffer[: received.length]) == b"here"
    udp.refusal_is_final = True
    udp.send(burst(b"anybody?", 8))
    with pytest.raises(ConnectionRefusedError):
        udp.receive()


def test_what_no_path_takes_is_dropped(open_: Open, foreign: socket.socket) -> None:
    udp = open_()
    assert udp.send(burst(bytes(65_508), 65_508), foreign.getsockname()) is None
    assert udp.send(burst(b"after", 5), foreign.getsockname()) is None
    assert foreign.recv(65_536) == b"after"


class Refusing(socket.socket):
    """A socket on whose path segmentation is refused."""

    code = errno.EIO
    attempts = 0

    def sendmsg(self, *_: Any) -> int:
        type(self).attempts += 1
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP])
def test_where_segmentation_is_refused_the_same_burst_goes_out_singly(
    open_: Open, foreign: socket.socket, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(Refusing, "code", code)
    monkeypatch.setattr(Refusing, "attempts", 0)
    udp = open_(bound(Refusing))
    data = sample(10_001)
    for _ in range(3):
        assert udp.send(burst(data, 1000), foreign.getsockname()) is None
        assert [foreign.recv(65_536) for _ in range(11)] == cut(data, 1000)
    assert Refusing.attempts == 1  # not tried again there


def test_one_path_that_refuses_is_not_all(open_: Open, foreign: socket.socket) -> None:
    class Sometimes(socket.socket):
        def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, to: Any = None) -> int:
            attempts.append(to)
            if to == foreign.getsockname():
                raise OSError(errno.EIO, "refused")
            return super().sendmsg(buffers, ancdata, flags, to)

    attempts: list[Any] = []
    udp = open_(bound(Sometimes))
    with bound() as other:
        for sock in (foreign, other, foreign, other):
            udp.send(burst(b"x" * 3000, 1000), sock.getsockname())
            assert [len(sock.recv(65_536)) for _ in range(3)] == [1000] * 3
        assert attempts == [foreign.getsockname(), other.getsockname(), other.getsockname()]


class Filling(socket.socket):
    """A socket whose send buffer is full after a number of sends."""

    room = 1

    def _take(self) -> None:
        if not self.room:
            raise BlockingIOError
        self.room -= 1

    def sendmsg(self, *arguments: Any) -> int:
        self._take()
        return super().sendmsg(*arguments)

    def sendto(self, *arguments: Any) -> int:
        self._take()
        return super().sendto(*arguments)


@pytest.mark.parametrize("offload", [True, False])
def test_what_finds_no_room_is_given_back(
    open_: Open, foreign: socket.socket, offload: bool
) -> None:
    foreign.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock = bound(Filling)
    assert isinstance(sock, Filling)
    udp = open_(sock, offload=offload)
    data, size = sample(2072 * 60), 2072
    a_send = MAX_SEND_BYTES // size if offload else 1
    rest = udp.send(burst(data, size), foreign.getsockname())
    assert rest is not None
    assert (bytes(rest.data), rest.segment_size) == (data[a_send * size :], size)
    sock.room = 100
    assert udp.send(rest, foreign.getsockname()) is None
    assert b"".join(foreign.recv(65_536) for _ in range(60)) == data


def test_other_errors_are_not_hidden(open_: Open, foreign: socket.socket) -> None:
    udp = open_()
    udp.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        udp.send(burst(b"x", 1), foreign.getsockname())


# ----------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("fragment", "option"), [(False, IP_PMTUDISC_PROBE), (True, IP_PMTUDISC_DONT)]
)
def test_datagrams_are_fragmented_for_plain_alone(open_: Open, fragment: bool, option: int) -> None:
    sock = bound()
    open_(sock, fragment=fragment)
    assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == option


@needs_ipv6
def test_datagrams_to_ipv4_clients_of_an_ipv6_socket_are_not_fragmented_either(open_: Open) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    open_(sock)
    assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_PROBE
    assert sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) == IP_PMTUDISC_PROBE


def test_a_port_is_shared_for_a_moment(open_: Open) -> None:
    udp = open_()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sibling:
        sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            sibling.bind(udp.address)
        udp.share_port(True)
        sibling.bind(udp.address)
        udp.share_port(False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            late.bind(udp.address)


def test_waiting_ends_at_once_where_time_is_up_or_something_is_there(
    open_: Open, foreign: socket.socket
) -> None:
    udp = open_()
    assert wait([udp], [], 0.0) == []
    assert wait([udp], [], -5.0) == []
    assert wait([udp], [udp], None) == []  # it can be written to
    foreign.sendto(b"x", udp.address)
    assert wait([udp], [], None) == [udp]


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process have more descriptors than `select` can name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= FD_SETSIZE + 10:
        pytest.skip(f"this process may have {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FD_SETSIZE + 10), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_a_program_with_a_thousand_files_open_waits_as_well(
    open_: Open, foreign: socket.socket
) -> None:
    sock = bound()
    high = socket.socket(fileno=fcntl.fcntl(sock.detach(), fcntl.F_DUPFD, FD_SETSIZE))
    udp, low = open_(high), open_()
    assert wait([udp, low], [], 0.0) == []
    began = time.monotonic()
    assert wait([udp], [], 0.0123) == []
    assert 0.0123 <= time.monotonic() - began < PATIENCE_S
    assert wait([udp], [udp], None) == []  # it can be written to
    assert wait([low], [udp], None) == []
    foreign.sendto(b"x", udp.address)
    assert wait([low, udp], [], None) == [udp]
    assert wait([low, udp], [udp], PATIENCE_S) == [udp]
    foreign.sendto(b"x", low.address)
    assert wait([low], [], None) == [low]
    assert wait([low, udp], [], None) == [low, udp]
    assert wait([udp.fileno()], [], 0.5) == [udp.fileno()]


class Told(socket.socket):
    """A socket that hears from a router, late, that an earlier datagram was too large."""

    news: list[OSError]

    def recvmsg_into(self, *arguments: Any) -> Any:
        if self.news:
            raise self.news.pop()
        return super().recvmsg_into(*arguments)

    def send(self, *arguments: Any) -> int:
        if self.news:
            raise self.news.pop()
        return super().send(*arguments)


@pytest.mark.parametrize(
    "code",
    [errno.EMSGSIZE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN],
)
def test_news_of_an_earlier_datagram_spoil_nothing(
    open_: Open, foreign: socket.socket, code: int
) -> None:
    # ICMP "fragmentation needed" is how a router answers the larger probes of the handshake.
    sock = bound(Told)
    assert isinstance(sock, Told)
    sock.connect(foreign.getsockname())
    udp = open_(sock)
    sock.news = [OSError(code, os.strerror(code))]
    foreign.sendto(b"an answer", udp.address)
    while (batch := udp.receive()) is None:
        pass
    assert udp.buffer[: batch.length] == b"an answer"
    sock.news = [OSError(code, os.strerror(code))]
    assert udp.send(burst(b"a smaller probe", 15)) is None
    assert foreign.recv(65_536) == b"a smaller probe"


def test_a_new_port_leads_to_the_same_peer_and_the_old_one_is_closed(
    open_: Open, foreign: socket.socket
) -> None:
    sock = bound()
    sock.connect(foreign.getsockname())
    udp = open_(sock)
    before, old = udp.address, udp._socket
    udp.send(Transmit(memoryview(b"old"), 3))
    udp.send(Transmit(memoryview(b"new"), 3, from_new_port=True))
    assert [foreign.recvfrom(9) for _ in range(2)] == [(b"old", before), (b"new", udp.address)]
    assert udp.address != before
    assert old.fileno() < 0
    foreign.sendto(b"answer", udp.address)
    assert received(udp) == [b"answer"]
    assert udp._socket.gettimeout() == 0.0


def test_where_no_new_port_is_to_be_had_the_old_one_goes_on(
    open_: Open, foreign: socket.socket
) -> None:
    udp = open_()
    before = udp.address
    udp.send(Transmit(memoryview(b"on"), 2, from_new_port=True), foreign.getsockname())
    assert foreign.recvfrom(9) == (b"on", before)


def test_where_bursts_vanish_the_kernel_joins_nothing_any_more(
    open_: Open, foreign: socket.socket
) -> None:
    sock = bound()
    sock.connect(foreign.getsockname())
    udp = open_(sock)
    assert sock.getsockopt(socket.IPPROTO_UDP, UDP_GRO)
    udp.send(Transmit(memoryview(b"ack"), 3, True))
    assert foreign.recv(9) == b"ack"
    assert not sock.getsockopt(socket.IPPROTO_UDP, UDP_GRO)
    for n in range(64):
        foreign.sendto(bytes([n]) * 1_000, udp.address)
    came = b"".join(received(udp))
    udp._begin_batches(1_000)
    foreign.sendto(b"x" * 1_000, udp.address)
    came += b"".join(received(udp))
    assert len(came) == 65_000
    assert not sock.getsockopt(socket.IPPROTO_UDP, UDP_GRO), "nor after many came singly"
