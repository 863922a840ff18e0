"""Access rules of a server: which hosts it answers, and in which protocol."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable
from typing import Any, Literal

from udpft.protocol.server.admission import Admission

PlainPolicy = Literal["auto", "always", "never"]
"""Hosts that are answered in the plain protocol: private ones, all, none."""

_MAX_CACHED_HOSTS = 10_000
_MAX_TOLD_HOSTS = 100
"""Hosts that are met by silence and named in the log: more would be for strangers to fill it."""

_PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",  # loopback
        "::1/128",
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",  # link-local
        "fe80::/10",
        "fc00::/7",  # unique local, RFC 4193
        "100.64.0.0/10",  # shared, RFC 6598
    )
)
"""Loopback and private. `ipaddress.is_private` has documentation and benchmarking networks too."""


def is_private(host: str) -> bool:
    """Tell whether an address is of this host or of a private network."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in _PRIVATE_NETWORKS)


def host_of(host: str) -> str:
    """Name the host that an address belongs to: an IPv4 address, or a /64 of IPv6."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return str(address)


class Access:
    """Access rules of one server.

    Args:
        public: answer reliable requests from addresses that are neither loopback nor private.
        plain: the hosts that are answered in the plain protocol.

    Attributes:
        _public: as ``public``; never changes.
        _plain: as ``plain``; never changes.
        on_silence: called with each host that asks and is not answered, once, for the log.
        _told: hosts that it was called with; no more than `_MAX_TOLD_HOSTS`, for they come from the
            network.
        _private: cache of `is_private` by host, for it is asked for every batch. Emptied when it
            has more than `_MAX_CACHED_HOSTS` entries, for its keys come from the network.
    """

    def __init__(self, *, public: bool, plain: PlainPolicy) -> None:
        self._public = public
        self._plain = plain
        self._private: dict[str, bool] = {}
        self._told: set[str] = set()
        self.on_silence: Callable[[str], None] = lambda _: None

    @property
    def is_public(self) -> bool:
        """Whether addresses that are neither loopback nor private are answered."""
        return self._public

    def allows_reliable(self, host: str) -> bool:
        """Tell whether a host is answered in the reliable protocol."""
        if self._public or self._is_private(host):
            return True
        if len(self._told) < _MAX_TOLD_HOSTS and host not in self._told:
            self._told.add(host)
            self.on_silence(host)
        return False

    def allows_plain(self, host: str) -> bool:
        """Tell whether a host is answered in the plain protocol."""
        if self._plain == "auto":
            return self._is_private(host)
        return self._plain == "always"

    def limited_host(self, address: Any) -> Hashable | None:
        """Name the host whose number of transfers is small; None for a private address.

        Args:
            address: as a socket names its peer.
        """
        host = address[0]
        return None if self._is_private(host) else host_of(host)

    def near_host(self, address: Any) -> Hashable | None:
        """Name the host where it is private, whose limit is a generous one; None for a public one.

        Each address of this machine is a host of its own.
        """
        host = address[0]
        return str(host) if self._is_private(host) else None

    def admission(self, max_sessions: int) -> Admission:
        """Make the limits of a server that has so many transfers at once."""
        return Admission(self.limited_host, self.near_host, max_sessions=max_sessions)

    def _is_private(self, host: str) -> bool:
        private = self._private.get(host)
        if private is None:
            if len(self._private) > _MAX_CACHED_HOSTS:
                self._private.clear()
            private = is_private(host)
            self._private[host] = private
        return private
