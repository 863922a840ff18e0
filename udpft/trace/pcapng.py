"""Captures in the format of pcapng (draft-ietf-opsawg-pcapng), which Wireshark reads.

A datagram becomes a packet of link type raw IP: IP header, UDP header, payload, as it was on the
wire. Of IP nothing is known here but the addresses, so the other fields are what udpft's sockets
ask for: Don't Fragment, 64 hops. Time stamps count microseconds of a monotonic clock, from the
calendar time at which the trace began.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple, Self

LINK_TYPE_RAW_IP: Final = 101

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_COMMENT, _SOFTWARE, _NAME = 1, 4, 2
_UDP = 17
_DONT_FRAGMENT = 0x4000
_HOPS = 64

# Block: type u32, total length u32
_BLOCK = struct.Struct("<II")
# Section header: byte-order magic u32, version 1.0 as u16 and u16, section length unknown as i64
_SECTION_BODY = struct.Struct("<IHHq")
# Interface: link type u16, reserved u16, snap length u32
_INTERFACE_BODY = struct.Struct("<HHI")
# Packet: interface u32, time stamp high u32 and low u32, captured length u32, original length u32
_PACKET_BODY = struct.Struct("<IIIII")
# Option: code u16, length u16
_OPTION = struct.Struct("<HH")
# IPv4 header: version and length, service, total length, identification, fragment, hops, protocol,
# checksum, source, destination
_IPV4 = struct.Struct(">BBHHHBBH4s4s")
# IPv6 header: version, class and flow label u32, payload length, next header, hops, addresses
_IPV6 = struct.Struct(">IHBB16s16s")
# UDP header: source port, destination port, length, checksum
_UDP_HEADER = struct.Struct(">HHHH")


class UdpAddress(NamedTuple):
    """IP address, as the 4 or 16 bytes of a packet, and UDP port."""

    packed: bytes
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Self:
        """Read an address as `socket` names it; a mapped one is of IPv4, as its packets are."""
        address = ip_address(host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return cls(address.packed, port)


def head_of(comment: str, interface: str) -> bytes:
    """Blocks that a file begins with: a section, with a comment, and an interface, with a name."""
    options = _option(_COMMENT, comment) + _option(_SOFTWARE, "udpft") + _OPTION.pack(0, 0)
    section = _SECTION_BODY.pack(0x1A2B3C4D, 1, 0, -1) + options
    name = _option(_NAME, interface) + _OPTION.pack(0, 0)
    return _block(_SECTION, section) + _block(
        _INTERFACE, _INTERFACE_BODY.pack(LINK_TYPE_RAW_IP, 0, 0) + name
    )


def packet_block(at_us: int, packet: bytes, comment: str = "") -> bytes:
    """Block of one packet, at microseconds since 1970."""
    body = _PACKET_BODY.pack(0, at_us >> 32, at_us & 0xFFFF_FFFF, len(packet), len(packet))
    options = _option(_COMMENT, comment) + _OPTION.pack(0, 0) if comment else b""
    return _block(_PACKET, body + _padded(packet) + options)


def ip_packet(source: UdpAddress, destination: UdpAddress, payload: bytes | memoryview) -> bytes:
    """IP packet of a datagram, with the checksums that it would have had."""
    length = _UDP_HEADER.size + len(payload)
    ports = _UDP_HEADER.pack(source.port, destination.port, length, 0)
    pseudo = source.packed + destination.packed + struct.pack(">II", length, _UDP)
    check = _checksum(pseudo + ports + payload) or 0xFFFF  # 0 says that there is none
    datagram = _UDP_HEADER.pack(source.port, destination.port, length, check) + payload
    if len(source.packed) == 16:
        head = _IPV6.pack(6 << 28, length, _UDP, _HOPS, source.packed, destination.packed)
        return head + datagram
    fields = (0x45, 0, _IPV4.size + length, 0, _DONT_FRAGMENT, _HOPS, _UDP)
    head = _IPV4.pack(*fields, 0, source.packed, destination.packed)
    head = _IPV4.pack(*fields, _checksum(head), source.packed, destination.packed)
    return head + datagram


def _checksum(data: bytes) -> int:
    """Complement of the ones' complement sum of 16-bit words (RFC 1071): a remainder by 65,535."""
    words = data + b"\0" if len(data) % 2 else data
    total = int.from_bytes(words, "big")
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))


def _option(code: int, text: str) -> bytes:
    value = text.encode(errors="replace")
    return _OPTION.pack(code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    total = _BLOCK.size + len(body) + 4
    return _BLOCK.pack(kind, total) + body + total.to_bytes(4, "little")
