"""Access rules: private networks, hosts, the plain policy, the cache."""

from __future__ import annotations

import pytest

from udpft.server import access as module
from udpft.server.access import Access, PlainPolicy, host_of, is_private

HOME, OUTSIDE = "192.168.1.1", "8.8.8.8"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.7.7",
        "fe80::1%eth0",
        "fd12::1",
        "100.64.0.1",
        "100.127.255.255",
        "::ffff:192.168.1.1",
    ],
)
def test_private_addresses(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.0",
        "192.169.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.1",
        "0.0.0.0",
        "2001:db8::1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "fec0::1",
    ],
)
def test_public_addresses(host: str) -> None:
    assert not is_private(host)


@pytest.mark.parametrize(
    ("host", "its_own"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("2606:4700::1111", "2606:4700::/64"),
        ("2606:4700:0:0:1:2:3:4", "2606:4700::/64"),
        ("2606:4700:0:1::1", "2606:4700:0:1::/64"),
    ],
)
def test_what_counts_as_one_host(host: str, its_own: str) -> None:
    assert host_of(host) == its_own


@pytest.mark.parametrize("public", [False, True])
def test_outsiders_are_answered_where_that_is_allowed(public: bool) -> None:
    access = Access(public=public, plain="auto")
    assert access.allows_reliable(HOME)
    assert access.allows_reliable(OUTSIDE) == public


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize(
    ("policy", "answered"),
    [("auto", [True, False]), ("always", [True, True]), ("never", [False, False])],
)
def test_the_plain_policy_is_apart_from_public_access(
    policy: PlainPolicy, answered: list[bool], public: bool
) -> None:
    access = Access(public=public, plain=policy)
    assert [access.allows_plain(host) for host in (HOME, OUTSIDE)] == answered


def test_only_outsiders_have_limited_transfers() -> None:
    access = Access(public=True, plain="auto")
    assert access.limited_host((HOME, 9000)) is None
    assert access.limited_host(("::1", 9000, 0, 0)) is None
    assert access.limited_host((OUTSIDE, 9000)) == OUTSIDE
    assert access.limited_host(("2606:4700::1", 9000, 0, 0)) == "2606:4700::/64"


def test_each_host_is_looked_up_once_and_the_cache_stays_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[str] = []

    def noting(host: str) -> bool:
        looked_up.append(host)
        return is_private(host)

    monkeypatch.setattr(module, "is_private", noting)
    monkeypatch.setattr(module, "_MAX_CACHED_HOSTS", 2)
    access = Access(public=False, plain="auto")
    for _ in range(2):
        assert not access.allows_reliable(OUTSIDE)
    assert looked_up == [OUTSIDE]
    for host in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        assert access.allows_reliable(host)
    assert not access.allows_reliable(OUTSIDE)  # forgotten meanwhile
    assert looked_up.count(OUTSIDE) == 2


def test_near_hosts_are_told_apart_and_public_ones_are_none() -> None:
    access = Access(public=True, plain="auto")
    assert access.near_host(("10.0.0.1", 9000)) == "10.0.0.1"
    assert access.near_host(("fd00::7", 9000, 0, 0)) == "fd00::7"
    assert access.near_host(("127.0.0.5", 9000)) == "127.0.0.5"
    assert access.near_host((OUTSIDE, 9000)) is None
    admission = access.admission(100)
    assert admission.charged_host((OUTSIDE, 1)) == OUTSIDE
    assert admission.charged_host(("127.0.0.1", 1)) == "127.0.0.1"


def test_each_outsider_that_is_met_by_silence_is_told_once_and_not_for_ever() -> None:
    access = Access(public=False, plain="auto")
    told: list[str] = []
    access.on_silence = told.append
    for _ in range(3):
        assert not access.allows_reliable("203.0.113.1")
        assert access.allows_reliable("192.168.0.1")
    assert told == ["203.0.113.1"]
    for n in range(250):
        access.allows_reliable(f"198.51.100.{n}")
    assert len(told) == module._MAX_TOLD_HOSTS


def test_where_all_are_answered_nobody_is_told_of() -> None:
    access = Access(public=True, plain="auto")
    told: list[str] = []
    access.on_silence = told.append
    assert access.allows_reliable("203.0.113.1")
    assert told == []
