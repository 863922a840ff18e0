"""Server addresses as people write them, and their resolution."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import ExitCode, HostNotFound, UsageError
from udpft.net.address import MAX_PORT, Address, parse_server, resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server", Address("server", 9000)),
        ("server:9001", Address("server", 9001)),
        ("my_service.lab:1", Address("my_service.lab", 1)),
        ("127.0.0.1", Address("127.0.0.1", 9000)),
        ("127.0.0.1:65535", Address("127.0.0.1", 65535)),
        ("::1", Address("::1", 9000)),
        ("[::1]", Address("::1", 9000)),
        ("[::1]:9001", Address("::1", 9001)),
        ("[fe80::1%eth0]:9001", Address("fe80::1%eth0", 9001)),
        ("fe80::1%eth0", Address("fe80::1%eth0", 9000)),
        (" server:9001\n", Address("server", 9001)),
        ("bücher.example", Address("bücher.example", 9000)),
    ],
)
def test_what_people_write(text: str, expected: Address) -> None:
    assert parse_server(text, 9000) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":9000",
        "server:",
        "server:http",
        "server:-1",
        "server:+1",
        "server:٣",
        "server:0",
        "server:65536",
        "server:" + "9" * 5000,
        "udp://server:9000",
        "server/path",
        "user@server",
        "two words",
        "nul\0byte",
        "esc\x1b[31m",
        "a" * 254,
        "a:b:c",
        "[server]:9000",
        "[::1",
        "[::1]9000",
        "[::1]:",
        "[]",
        "[127.0.0.1]:9000",
        "1:2:3:4:5:6:7:8:9",
    ],
)
def test_nonsense_is_refused_as_usage(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_server(text, 9000)
    assert refused.value.exit_code == ExitCode.USAGE


@given(st.text())
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        address = parse_server(text, 9000)
    except UsageError:
        return
    assert address.host
    assert 1 <= address.port <= MAX_PORT
    assert parse_server(str(address), 1) == address


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("server", 9000), "server:9000"),
        (Address("::1", 9000), "[::1]:9000"),
    ],
)
def test_an_address_prints_as_it_is_written(address: Address, text: str) -> None:
    assert str(address) == text


def test_numbers_resolve_to_themselves() -> None:
    assert resolve(Address("127.0.0.1", 9000)) == (socket.AF_INET, ("127.0.0.1", 9000))
    assert resolve(Address("::1", 9000)) == (socket.AF_INET6, ("::1", 9000, 0, 0))


def test_localhost_is_where_a_server_listens_by_default() -> None:
    family, sockaddr = resolve(Address("localhost", 9000))
    assert (family, Address.of(sockaddr)) == (socket.AF_INET, Address("127.0.0.1", 9000))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid", "a..b"])
def test_an_unknown_host_says_so_with_a_hint(host: str) -> None:
    with pytest.raises(HostNotFound) as lost:
        resolve(Address(host, 9000))
    assert lost.value.exit_code == ExitCode.HOST_NOT_FOUND
    assert host in str(lost.value)
    assert lost.value.hint


def test_an_ipv6_address_may_be_in_brackets() -> None:
    assert resolve(Address("[::1]", 7)) == resolve(Address("::1", 7))
