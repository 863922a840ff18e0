"""UDP socket that sends and receives bursts, with the kernel's offloads where it has them.

The kernel's segmentation offload (UDP_SEGMENT, Linux 4.18) cuts one buffer into equal datagrams,
and its coalescing (UDP_GRO, Linux 5.0) joins them again, so that one system call carries up to
64 KiB. Where either is missing or refused at run time, the same bursts go out datagram by
datagram; nothing else changes.

Datagrams are never fragmented: the Don't Fragment bit is set, and the kernel is asked to let
through what is larger than it believes the path to carry, because that is how we probe
(IP_PMTUDISC_PROBE).
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import time
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any

from udpft.net import pktinfo
from udpft.net.pktinfo import ControlMessage, Peer
from udpft.protocol.contract import Batch, Transmit
from udpft.protocol.params import MAX_BATCH_BYTES, MAX_SEND_BYTES, MAX_SEND_PACKETS

if TYPE_CHECKING:
    from udpft.net.recvmmsg import BatchReceiver

SO_MEMINFO = 55
UDP_SEGMENT = 103
UDP_GRO = 104
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE = 0, 3
IP_MTU, IPV6_MTU = 14, 24

RECEIVE_BUFFER_BYTES = 4 << 20
"""Bytes asked of the kernel, which gives no more than net.core.rmem_max: 208 KiB by default."""

SEND_BUFFER_BYTES = 1 << 20
"""Bytes asked of the kernel, which gives no more than net.core.wmem_max."""

_POLL_STEP_S = 0.000_05
"""Seconds between looks where poll's milliseconds are too coarse."""

_MANY_RECEIVES = 16
"""Receives in one batch, each of hardly more than one datagram, that tell that the network joins
next to nothing."""

_FEW_JOINED = 3
"""Datagrams in a receive, in the mean of such a batch, below which one call for many costs less."""

_BATCH_RECEIVES = 1_000
"""Batched receives before the kernel is asked again whether it joins anything."""

_RECEIVE_BYTES = 65_536
_LAST_OFFSET = MAX_BATCH_BYTES - _RECEIVE_BYTES
_TRUNCATED = int(socket.MSG_TRUNC)  # as an enum's member it costs microseconds
_CONTROL_BYTES = socket.CMSG_SPACE(4)  # of UDP_GRO
# Segment size: u16, as the kernel reads it
_SEGMENT_SIZE = struct.Struct("=H")
_IPV4_HEADERS, _IPV6_HEADERS = 28, 48  # with UDP's
# The first nine u32 of SO_MEMINFO: bytes queued, buffer size, six more, datagrams dropped
_MEMINFO = struct.Struct("=9I")

_JOINED_EFFICIENCY = 0.95
_SINGLE_EFFICIENCY = 0.4
"""Payload per byte of receive buffer: the kernel charges a joined burst little more than its
payload, and a single datagram its whole allocation, 2,304 bytes for 1,472 and 4,352 for 2,048."""

# The path cannot take this datagram; a later one may fare better, when a link is up again or a
# route is back. Like loss on the wire. These are what Linux makes of a full queue, a firewall, a
# link or a route that is down, and of ICMP (icmp_err_convert, icmpv6_err_convert).
_TRANSIENT = {
    errno.ENOBUFS,
    errno.EPERM,
    errno.EACCES,
    errno.EMSGSIZE,
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.ENONET,
    errno.EPROTO,
}
_OFFLOAD_REFUSED = {errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP}


class UdpSocket:
    """Non-blocking UDP socket that sends and receives bursts.

    Args:
        sock: bound or connected; this object closes it.
        offload: use the kernel's segmentation and coalescing where it has them.
        fragment: let the network fragment datagrams, as the plain protocol needs.

    Attributes:
        buffer: for received batches; each `receive` writes over the last one.
        refusal_is_final: whether it is an error that the host at the other end of a connected
            socket says that the port is closed. Anybody can say so in its name (RFC 5927): once
            the other end has answered, set it to False, and let silence decide.
        refusals: times that this was said; only grows.
    """

    def __init__(
        self, sock: socket.socket, *, offload: bool = True, fragment: bool = False
    ) -> None:
        self._offload = offload
        self.buffer = bytearray(MAX_BATCH_BYTES)
        self._view = memoryview(self.buffer)
        self._held: deque[tuple[Batch, int]] = deque()
        """Batches received and not returned yet, with their places in the buffer."""
        self._batch_receiver: BatchReceiver | None = None
        """Receiver in use while the network joins nothing; None while it may."""
        self._batch_receives = 0
        """Calls of the batch receiver since it was last taken into use."""
        self._joined = False
        """Whether the kernel has joined what came last; small datagrams leave it as it is."""
        self._control: list[ControlMessage] = []
        """Control messages of what was received last."""
        self._can_segment = offload
        """Whether segmentation is used; False once the kernel has none."""
        self._refused: set[Any] = set()
        """Addresses, and whole hosts, on whose path segmentation is not used; none is taken out."""
        self._segment_control: dict[int, list[ControlMessage]] = {}
        """Control messages that ask for segmentation, by segment size in bytes, as in use."""
        self.refusal_is_final = True
        self.refusals = 0
        self._fragment = fragment
        self._adopt(sock)

    def _adopt(self, sock: socket.socket) -> None:
        """Set a socket up, and use it from now on."""
        self._socket = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        discover = IP_PMTUDISC_DONT if self._fragment else IP_PMTUDISC_PROBE
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, discover)
        # An IPv6 socket has both: it may have IPv4 clients, by their mapped addresses.
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
        self._batch_receiver = None
        self._can_join = self._offload and self._join(True)
        self._connected = _is_connected(sock)
        self._can_batch = self._connected and sys.platform == "linux"  # it has recvmmsg
        self._is_wildcard = not self._connected and pktinfo.ask_for(sock)
        """Whether peers are named with the address of ours that they have asked."""
        self._control_bytes = _CONTROL_BYTES + (pktinfo.CONTROL_BYTES if self._is_wildcard else 0)
        """Bytes of room for control messages."""

    def replace(self, sock: socket.socket) -> None:
        """Use another socket from now on, as from the beginning; the one before is closed."""
        self._socket.close()
        self._adopt(sock)

    def _renew(self) -> None:
        """Use a new port from now on, to the same peer, where there is one to be had."""
        sock = socket.socket(self._socket.family, socket.SOCK_DGRAM)
        try:
            sock.connect(self._socket.getpeername())
        except OSError:
            sock.close()  # no way now, or not connected: the old one goes on
            return
        self.replace(sock)

    def _join(self, wanted: bool) -> bool:
        """Ask the kernel to join datagrams that it receives, or not to; return whether it can."""
        try:
            self._socket.setsockopt(socket.IPPROTO_UDP, UDP_GRO, wanted)
        except OSError:
            return False
        return True

    def fileno(self) -> int:
        """The socket's descriptor, for `select`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def share_port(self, shared: bool) -> None:
        """Let other sockets bind this port too, or no longer."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shared)

    @property
    def family(self) -> int:
        """Address family, AF_INET or AF_INET6."""
        return self._socket.family

    @property
    def address(self) -> Any:
        """Local address, as the kernel has it."""
        return self._socket.getsockname()

    # ------------------------------------------------------------------------------- receiving

    def receive(self) -> Batch | None:
        """Receive one batch into `buffer`, or None where nothing has arrived.

        Takes the datagrams that wait, up to `MAX_BATCH_BYTES`, as long as they come from one
        address and are cut alike: what follows costs per batch.

        Raises:
            ConnectionRefusedError: on a connected socket, nothing listens at the other end; only
                while `refusal_is_final`.
        """
        batch = self._take_held()
        if batch is None:
            if self._batch_receiver:
                return self._receive_batched(self._batch_receiver)
            batch = self._receive_first()
        if batch is None or self._held:
            return batch
        _, length, segment_size, address = batch
        view, receive, like = self._view, self._socket.recvmsg_into, self._control
        as_joined, room = _segment_size_of(like) > 0, self._control_bytes
        sockaddr, receives = pktinfo.sockaddr_of(address), 1
        while 0 < length <= _LAST_OFFSET and length % segment_size == 0:
            place = view[length : length + _RECEIVE_BYTES]
            try:
                got, control, flags, sender = receive((place,), room)
            except OSError as error:
                if self._is_final(error) and error.errno != errno.ECONNREFUSED:
                    raise
                break  # what came before it counts first
            receives += 1
            if control == like and as_joined and sender == sockaddr and not flags & _TRUNCATED:
                length += got
                continue
            more = self._read(got, control, flags, sender)
            shorter = more.length == more.segment_size < segment_size
            if more.address != address or not (more.segment_size == segment_size or shorter):
                self._held.append((more, length))
                break
            length += more.length
        few = length < _FEW_JOINED * receives * segment_size
        if few and receives >= _MANY_RECEIVES and self._can_batch:
            self._begin_batches(segment_size)
        return Batch(self.buffer, length, segment_size, address)

    def _take_held(self) -> Batch | None:
        """Take a batch that was received before, and move it to the buffer's start."""
        if not self._held:
            return None
        batch, at = self._held.popleft()
        self.buffer[: batch.length] = self.buffer[at : at + batch.length]
        return batch

    def _begin_batches(self, size: int) -> None:
        """Receive datagrams of a size by many at once, not joined, until something changes."""
        from udpft.net.recvmmsg import BatchReceiver  # most networks join them, and need no ctypes

        if self._can_join:
            self._join(False)
        if self._batch_receiver is None or self._batch_receiver.size != size:
            self._batch_receiver = BatchReceiver(self.fileno(), self.buffer, size)
        self._batch_receives = 0

    def _receive_batched(self, receiver: BatchReceiver) -> Batch | None:
        """Receive by the batch receiver, while the network joins nothing."""
        self._batch_receives += 1
        try:
            stretches = receiver.receive()
        except OSError as error:
            if self._is_final(error):
                raise
            return None
        if not stretches or self._batch_receives >= _BATCH_RECEIVES:
            self._batch_receiver = None
            if self._can_join:
                self._join(True)
        for at, length in stretches or ():
            self._held.append(
                (Batch(self.buffer, length, max(1, min(length, receiver.size)), None), at)
            )
        if not self._held:
            return None
        return self._held.popleft()[0]  # which is at the buffer's start

    def _receive_first(self) -> Batch | None:
        """Receive by one system call, to the buffer's start."""
        place = self._view[:_RECEIVE_BYTES]
        try:
            return self._read(*self._socket.recvmsg_into((place,), self._control_bytes))
        except OSError as error:
            if self._is_final(error):
                raise
            return None

    def _is_final(self, error: OSError) -> bool:
        """Whether an error ends receiving, as a closed port does.

        That nothing has arrived does not, nor does a transient error of a datagram sent earlier.
        """
        if isinstance(error, BlockingIOError):
            return False
        if error.errno == errno.ECONNREFUSED:
            return self._note_refusal()
        return error.errno not in _TRANSIENT

    def _note_refusal(self) -> bool:
        """Count a refusal; return whether it is final."""
        self.refusals += 1
        return self.refusal_is_final

    def _read(self, length: int, control: list[ControlMessage], flags: int, address: Any) -> Batch:
        """Make a batch of the result of `recvmsg_into`; the kernel says if it was joined."""
        self._control = control
        if self._is_wildcard:
            address = pktinfo.peer_of(address, control)
        if flags & _TRUNCATED:
            return Batch(self.buffer, 0, 1, address)
        segment_size = _segment_size_of(control)
        if segment_size:
            self._joined = True
            return Batch(self.buffer, length, segment_size, address)
        self._joined = self._joined and length < 1024  # small ones, such as FIN, tell nothing
        return Batch(self.buffer, length, max(1, length), address)

    def receive_queue(self) -> tuple[int, int]:
        """Payload bytes that may be on their way to the socket, and datagrams that it has dropped.

        Of a connected socket these are the bytes that its buffer holds in all, for what waits in it
        is still on its way to a sender without an ACK; of one that many send to, its free room.
        """
        try:
            info = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
            queued, size, *_, drops = _MEMINFO.unpack(info)
        except (OSError, struct.error):  # before Linux 4.12
            queued, drops = 0, 0
            size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        room = size if self._connected else size - queued
        efficiency = _JOINED_EFFICIENCY if self._joined else _SINGLE_EFFICIENCY
        return max(0, int(room * efficiency)), drops

    def largest_datagram(self) -> float:
        """Bytes of the largest datagram that can leave a connected socket; inf if unknown.

        By the device, or by what a router has said lately.
        """
        try:
            if self.family == socket.AF_INET6:
                mtu = self._socket.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
                return mtu - _IPV6_HEADERS
            return self._socket.getsockopt(socket.IPPROTO_IP, IP_MTU) - _IPV4_HEADERS
        except OSError:  # not connected, or another system
            return inf

    # --------------------------------------------------------------------------------- sending

    def send(self, transmit: Transmit, address: Any = None) -> Transmit | None:
        """Send a burst; return what of it found no room in the send buffer, or None.

        What the path refuses is dropped, as it might have been on the wire.

        Raises:
            ConnectionRefusedError: on a connected socket, nothing listens at the other end; only
                while `refusal_is_final`.
        """
        data, segment_size, singly, from_new_port = transmit
        if from_new_port:
            self._renew()
        if singly and self._connected:
            self._forgo_joining()
        at, length, step = 0, len(data), segment_size
        if length > segment_size and self._can_segment:
            if singly:
                self._forgo_segments(address and address[0])
            elif not self._refused or self._may_segment(address):
                step *= min(MAX_SEND_PACKETS, MAX_SEND_BYTES // segment_size)
        told = False
        while True:
            piece = data if length <= step else data[at : at + step]
            try:
                if len(piece) > segment_size:
                    self._send_segmented(piece, segment_size, address)
                elif address is None:
                    self._socket.send(piece)
                elif type(address) is Peer:
                    self._socket.sendmsg((piece,), (address.local,), 0, address.sockaddr)
                else:
                    self._socket.sendto(piece, address)
            except BlockingIOError:
                return Transmit(data[at:], segment_size, singly)
            except OSError as error:
                if len(piece) > segment_size and error.errno in _OFFLOAD_REFUSED:
                    self._refuse(error, address)
                    step = segment_size
                    continue
                refused = error.errno == errno.ECONNREFUSED and address is None
                closed = refused and self._note_refusal()
                if closed or error.errno not in _TRANSIENT:
                    raise
                if not told:
                    told = True  # of an earlier datagram, it may be: this one was not tried
                    continue
            at += step
            if at >= length:
                return None

    def _refuse(self, error: OSError, address: Any) -> None:
        if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
            self._can_segment = False
        else:
            self._forgo_segments(address)

    def _may_segment(self, address: Any) -> bool:
        """Whether segmentation was refused neither to an address nor to all of its host."""
        return address not in self._refused and (not address or address[0] not in self._refused)

    def _forgo_joining(self) -> None:
        """Have the kernel join nothing from now on: what it joins is lost on its way in."""
        if self._can_join:
            self._join(False)
            self._can_join = False

    def _forgo_segments(self, to: Any) -> None:
        """Send one datagram at a time from now on to an address or a host.

        None stands for both on a connected socket.
        """
        if len(self._refused) < 10_000:
            self._refused.add(to)

    def _send_segmented(self, data: memoryview, segment_size: int, address: Any) -> None:
        control = self._segment_control.get(segment_size)
        if control is None:
            packed = _SEGMENT_SIZE.pack(segment_size)
            control = [(socket.IPPROTO_UDP, UDP_SEGMENT, packed)]
            if len(self._segment_control) < 1_000:
                self._segment_control[segment_size] = control
        if address is None:
            self._socket.sendmsg((data,), control)
        elif type(address) is Peer:
            self._socket.sendmsg((data,), (*control, address.local), 0, address.sockaddr)
        else:
            self._socket.sendmsg((data,), control, 0, address)


def _segment_size_of(control: list[ControlMessage]) -> int:
    """Size of the datagrams that the kernel has joined, in bytes; 0 where it was a single one."""
    for level, kind, data in control:
        if level == socket.IPPROTO_UDP and kind == UDP_GRO:
            return int.from_bytes(data[:4], "little")
    return 0


def drops_of(sock: socket.socket) -> int:
    """Datagrams that a socket's receive buffer had no room for; 0 where the kernel does not say."""
    try:
        drops: int = _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[
            -1
        ]
    except (OSError, struct.error):  # before Linux 4.12
        return 0
    return drops


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def wait(reading: list[Any], writing: list[Any], timeout_s: float | None) -> list[Any]:
    """Wait until one of the sockets can be read or written, or time is up; return the readable.

    `select` because its timeouts are in microseconds, where poll and epoll count milliseconds.
    """
    if timeout_s is not None:
        timeout_s = max(0.0, timeout_s)
    try:
        return select.select(reading, writing, [], timeout_s)[0]
    except ValueError:  # a descriptor of 1,024 or above, in a program that has many
        return _wait_by_poll(reading, writing, timeout_s)


def _wait_by_poll(reading: list[Any], writing: list[Any], timeout_s: float | None) -> list[Any]:
    """`wait` for descriptors that `select` has no room for; as exact, with a little more work."""
    poll = select.poll()
    of_fd = {one if isinstance(one, int) else one.fileno(): one for one in reading}
    for fd in of_fd:
        poll.register(fd, select.POLLIN)
    for one in writing:
        fd = one if isinstance(one, int) else one.fileno()
        poll.register(fd, select.POLLOUT | (select.POLLIN if fd in of_fd else 0))
    if timeout_s is None:
        events = poll.poll()
    else:
        until = time.monotonic() + timeout_s
        events = poll.poll(int(timeout_s * 1000))  # whole milliseconds, and the rest in small steps
        while not events and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, _POLL_STEP_S))
            events = poll.poll(0)
    return [of_fd[fd] for fd, event in events if fd in of_fd and event & ~select.POLLOUT]
