"""Packet information: the local address that a datagram was sent to, and its answer leaves from.

A socket that is bound to a wildcard has all addresses of its machine, and the kernel would answer
from the one that its routes prefer. Who has asked another one of them does not hear that, nor does
a NAT on the way. So the kernel is asked for the address that each datagram was sent to (IP_PKTINFO
and IPV6_RECVPKTINFO, see ip(7) and ipv6(7)), and told it again with each answer. A socket that is
bound to one address needs none of this, and does none.
"""

import socket
import struct
from functools import lru_cache
from typing import Any, NamedTuple

ControlMessage = tuple[int, int, bytes]
"""Control message as `socket` takes and gives it: level, type, data."""

IP_PKTINFO = 8
IPV6_RECVPKTINFO, IPV6_PKTINFO = 49, 50

# struct in_pktinfo: interface i32, local address to answer from, address of the header
_IN_PKTINFO = struct.Struct("=i4s4s")
# struct in6_pktinfo: address, interface u32
_IN6_PKTINFO = struct.Struct("=16sI")

CONTROL_BYTES = socket.CMSG_SPACE(_IN_PKTINFO.size) + socket.CMSG_SPACE(_IN6_PKTINFO.size)
"""Bytes of room that control messages with packet information need, in receiving."""


class Peer(NamedTuple):
    """Peer of a socket that is bound to a wildcard: its address, and which of ours it has asked.

    Two that differ in either are two peers. ``host`` and ``port`` stand first, as in the address of
    a socket. ``sockaddr``: the address as a socket takes it; ``local``: the control message that
    makes an answer leave from the address that was asked.
    """

    host: str
    port: int
    sockaddr: tuple[Any, ...]
    local: ControlMessage

    @property
    def local_host(self) -> str:
        """Local address that was asked."""
        _, kind, data = self.local
        if kind == IP_PKTINFO:
            return socket.inet_ntop(socket.AF_INET, data[4:8])
        return socket.inet_ntop(socket.AF_INET6, data[:16])


def is_wildcard(sock: socket.socket) -> bool:
    """Whether a socket is bound to a wildcard address, and so has many."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    name = sock.getsockname()
    return name[1] != 0 and name[0] in ("0.0.0.0", "::")


def ask_for(sock: socket.socket) -> bool:
    """Ask the kernel for packet information, where a socket needs it; return whether it comes."""
    if not is_wildcard(sock):
        return False
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    except OSError:
        return False
    return True


def peer_of(sockaddr: Any, control: list[ControlMessage]) -> Any:
    """Name a peer by its address and by the packet information that came with its datagram.

    Where there is none, it is its address alone.
    """
    for level, kind, data in control:
        if (level, kind) in _KINDS:
            return _peer(sockaddr, level, kind, data)
    return sockaddr


def sockaddr_of(address: Any) -> Any:
    """Address of a peer as a socket takes it, however `peer_of` has named it."""
    return address.sockaddr if type(address) is Peer else address


def beside(address: Any, sockaddr: Any) -> Any:
    """Name a peer that has asked the same local address as another one."""
    if type(address) is Peer:
        return Peer(sockaddr[0], sockaddr[1], sockaddr, address.local)
    return sockaddr


@lru_cache(1_024)
def _peer(sockaddr: tuple[Any, ...], level: int, kind: int, data: bytes) -> Peer:
    if kind == IP_PKTINFO:
        _, local, _ = _IN_PKTINFO.unpack(data)
        answer = _IN_PKTINFO.pack(0, local, bytes(4))  # by whichever interface leads there
    else:
        local, interface = _IN6_PKTINFO.unpack(data)
        link_local = local[0] == 0xFE and local[1] & 0xC0 == 0x80  # means nothing without one
        answer = _IN6_PKTINFO.pack(local, interface if link_local else 0)
    return Peer(sockaddr[0], sockaddr[1], sockaddr, (level, kind, answer))


_KINDS = {(socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, IPV6_PKTINFO)}
