"""Probe for IPv6: many containers have no IPv6 loopback to test on."""

from __future__ import annotations

import socket

import pytest


def has_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_loopback(), reason="there is no IPv6 loopback")
