"""Captures: the blocks of a file, and packets with the checksums that they would have had."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from random import Random

import pytest

from tests.contrib.capture import capture, needs_tshark, tshark
from udpft.trace.pcapng import UdpAddress, head_of, ip_packet, packet_block

V4 = UdpAddress.of("192.0.2.1", 9000), UdpAddress.of("198.51.100.7", 65_535)
V6 = UdpAddress.of("2001:db8::1", 9000), UdpAddress.of("fe80::1%eth0", 1)


def blocks_of(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each block; its length stands at both of its ends."""
    found = []
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0
        assert data[length - 4 : length] == data[4:8]
        found.append((kind, data[8 : length - 4]))
        data = data[length:]
    return found


def words_sum(data: bytes) -> int:
    """Ones' complement sum of the 16-bit words: 0xFFFF where a checksum in it is right."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_file_begins_with_a_section_and_an_interface() -> None:
    section, interface = blocks_of(head_of("trace of a get", "client"))
    assert section[0] == 0x0A0D0D0A
    assert section[1].startswith(struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    assert b"trace of a get" in section[1]
    assert interface == (1, struct.pack("<HHI", 101, 0, 0) + b"\2\0\6\0client\0\0" + bytes(4))


def test_a_packet_has_its_time_in_microseconds_and_its_comment() -> None:
    at_us = 1_700_000_000_123_456
    [(kind, body)] = blocks_of(packet_block(at_us, b"12345", "lost"))
    assert kind == 6
    assert struct.unpack_from("<IIIII", body) == (0, at_us >> 32, at_us & 0xFFFFFFFF, 5, 5)
    assert body[20:28] == b"12345\0\0\0"
    assert b"lost" in body[28:]


@pytest.mark.parametrize("length", [0, 1, 2, 1472, 65_507])
@pytest.mark.parametrize("ends", [V4, V6], ids=["IPv4", "IPv6"])
def test_a_datagram_has_the_headers_of_the_wire(
    ends: tuple[UdpAddress, UdpAddress], length: int
) -> None:
    source, destination = ends
    if len(source.packed) == 16 and length == 65_507:
        length -= 20
    payload = Random(length).randbytes(length)
    packet = ip_packet(source, destination, payload)
    head = 20 if len(source.packed) == 4 else 40
    udp = packet[head:]
    assert struct.unpack_from(">HHH", udp) == (source.port, destination.port, 8 + length)
    assert udp[8:] == payload
    pseudo = source.packed + destination.packed + struct.pack(">II", len(udp), 17)
    assert words_sum(pseudo + udp) == 0xFFFF
    if head == 20:
        assert words_sum(packet[:head]) == 0xFFFF
        assert struct.unpack_from(">H", packet, 2)[0] == len(packet)
        assert packet[6:8] == b"\x40\0", "Don't Fragment"


def test_a_checksum_of_zero_leaves_as_ones_for_zero_says_that_there_is_none() -> None:
    source, destination = V4
    empty = ip_packet(source, destination, bytes(2))
    said = int.from_bytes(empty[26:28], "big")
    packet = ip_packet(source, destination, said.to_bytes(2, "big"))
    assert packet[26:28] == b"\xff\xff"


def test_a_mapped_address_is_of_ipv4() -> None:
    assert UdpAddress.of("::ffff:192.0.2.1", 9000) == V4[0]
    assert UdpAddress.of("::1", 1).packed == ip_address("::1").packed


@needs_tshark
def test_tshark_finds_every_checksum_right(tmp_path) -> None:  # type: ignore[no-untyped-def]
    sent = [(*V4, b"hello"), (*V6, b"hello!"), (*V4, b""), (*V6, bytes(1472))]
    shown = tshark(
        capture(tmp_path / "x.pcapng", sent),
        *("-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields"),
        *("-e", "udp.checksum.status", "-e", "ip.checksum.status", "-e", "udp.length"),
    )
    assert shown.splitlines() == ["1\t1\t13", "1\t\t14", "1\t1\t8", "1\t\t1480"]
