"""Server addresses as a person writes them: ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``.

`parse_server` reads the words and touches no network; `resolve` asks the system's resolver.
"""

import socket
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from udpft.errors import HostNotFound, UsageError

if TYPE_CHECKING:
    from udpft.net.stop import Stop

MAX_HOST_LENGTH = 253
"""Characters of a host name (RFC 1035, section 2.3.4, less the encoding's two octets)."""

MAX_PORT = 65_535

Sockaddr = tuple[Any, ...]
"""An address as `socket` takes and gives it: (host, port), and for IPv6 flow label and scope."""

_EXAMPLES = "write HOST or HOST:PORT, such as 192.168.1.5, server:9000 or [::1]:9000"


class Address(NamedTuple):
    """Host, by name or number and without brackets, and UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        """``host:port``; an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def of(cls, sockaddr: Sockaddr) -> Self:
        """Read the address that `socket` returned."""
        return cls(sockaddr[0], sockaddr[1])


def parse_server(text: str, default_port: int) -> Address:
    """Read ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT`` or a bare IPv6 address.

    Raises:
        UsageError: it is none of these, with a hint that shows what one looks like.
    """
    text = text.strip()
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise _nonsense(text)
        port = rest[1:] if rest else None
    elif text.count(":") > 1:
        if not _is_ipv6(text):
            raise _nonsense(text)
        return Address(text, default_port)
    else:
        host, colon, after = text.partition(":")
        port = after if colon else None
        if not _may_be_host(host):
            raise _nonsense(text)
    return Address(host, default_port if port is None else _parse_port(port, text))


def resolve(address: Address, stop: "Stop | None" = None) -> tuple[socket.AddressFamily, Sockaddr]:
    """Resolve a host; return the first of `resolve_all`. Raises as that does."""
    return resolve_all(address, stop)[0]


def resolve_all(
    address: Address, stop: "Stop | None" = None
) -> list[tuple[socket.AddressFamily, Sockaddr]]:
    """Resolve a host; return families and addresses for `socket.socket`, ``connect`` or ``bind``.

    Where a name has addresses of both families, those of IPv4 come first: it is what servers bind
    to unless told otherwise, and over UDP nobody says that the other family would have answered.

    Raises:
        HostNotFound: the name does not resolve.
        Stopped: ``stop`` was set first.
    """
    try:
        # As bytes a plain name does not need the codec of international ones, which takes its time.
        bare = _without_brackets(address.host)
        host = bare.encode() if bare.isascii() else bare
        ask = partial(socket.getaddrinfo, host, address.port, type=socket.SOCK_DGRAM)
        found = stop.outlast(ask) if stop else ask()
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else "no valid name"
        raise HostNotFound(
            f"no host is known as {address.host!r}: {why}",
            hint="check the spelling; in containers both must be on the same network",
        ) from None
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    return list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found))


def all_addresses(address: Address, stop: "Stop | None" = None) -> list[Address]:
    """All addresses of a host's name, in the order of `resolve_all`, which see for errors."""
    return [Address.of(sockaddr) for _, sockaddr in resolve_all(address, stop)]


def _without_brackets(host: str) -> str:
    """A host as the resolver takes it: ``[::1]`` is an IPv6 address as `Address` writes it."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _parse_port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise _nonsense(text)
    if len(digits) > 5 or not 1 <= int(digits) <= MAX_PORT:
        raise UsageError(f"{text!r}: a port is a number from 1 to {MAX_PORT}")
    return int(digits)


def _is_ipv6(host: str) -> bool:
    number, _, zone = host.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, number)
    except (OSError, ValueError):
        return False
    return zone.isprintable() and "%" not in zone and not host.endswith("%")


def _may_be_host(host: str) -> bool:
    """Whether a text may be a host's name: keeps typing slips from the resolver, which judges."""
    return (
        0 < len(host) <= MAX_HOST_LENGTH
        and host.isprintable()
        and not any(c in ' /\\@[]?#"' for c in host)
    )


def _nonsense(text: str) -> UsageError:
    return UsageError(f"{text!r} is not a server's address", hint=_EXAMPLES)
