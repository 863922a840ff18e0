"""Admission of transfers: limits in all, from one host, and in a second."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from udpft.errors import ServerBusy
from udpft.protocol.server.admission import (
    BUSY_RETRY_S,
    MAX_SESSIONS_A_HOST,
    NEW_SESSIONS_BURST,
    NEW_SESSIONS_PER_S,
    Admission,
)


def host_of(address: Hashable) -> Hashable | None:
    """Of a pair of host and port; who is at home is not counted."""
    assert isinstance(address, tuple)
    return None if address[0] == "home" else address[0]


def begin(admission: Admission, host: str, times: int = 1, now: float = 0.0) -> None:
    for port in range(times):
        admission.check((host, port), now)
        admission.begin((host, port))


def test_there_is_room_for_a_number_in_all() -> None:
    admission = Admission(host_of, max_sessions=3)
    begin(admission, "home", 3)
    with pytest.raises(ServerBusy, match="no room for another transfer") as caught:
        admission.check(("home", 4), 0.0)
    assert caught.value.retry_after_s == BUSY_RETRY_S
    assert caught.value.hint
    admission.end(("home", 0))
    begin(admission, "home")


def test_a_host_has_its_share_and_leaves_the_others_theirs() -> None:
    admission = Admission(host_of)
    begin(admission, "far", MAX_SESSIONS_A_HOST)
    with pytest.raises(ServerBusy, match="to this host"):
        begin(admission, "far")
    begin(admission, "farther", MAX_SESSIONS_A_HOST)
    admission.end(("far", 0))
    begin(admission, "far")


def test_who_is_at_home_has_no_share_to_keep_to() -> None:
    begin(Admission(host_of), "home", 10 * MAX_SESSIONS_A_HOST)


def test_hosts_that_left_are_forgotten() -> None:
    admission = Admission(host_of)
    for n in range(100):
        begin(admission, str(n), 2)
        admission.end((str(n), 0))
        admission.end((str(n), 1))
    assert admission._of_host == {}


def test_transfers_begun_in_a_second_are_bounded() -> None:
    admission = Admission(host_of)
    begun = refused = 0
    for attempt in range(40_000):
        try:
            begin(admission, "home", now=attempt / 4_000)
        except ServerBusy:
            refused += 1
        else:
            admission.end(("home", 0))
            begun += 1
    assert begun == pytest.approx(10 * NEW_SESSIONS_PER_S + NEW_SESSIONS_BURST, rel=0.01)
    assert refused


def test_a_near_host_has_a_generous_share_and_leaves_the_rest() -> None:
    def near_host_of(address: Hashable) -> Hashable | None:
        assert isinstance(address, tuple)
        return address[0] if address[0] == "home" else None

    admission = Admission(host_of, near_host_of, max_sessions=100)
    begin(admission, "home", 50)
    with pytest.raises(ServerBusy, match="to this host"):
        begin(admission, "home")
    begin(admission, "far", MAX_SESSIONS_A_HOST)
    assert [admission.charged_host((host, 1)) for host in ("home", "far")] == ["home", "far"]
    assert not admission.is_full
    small = Admission(host_of, near_host_of, max_sessions=10)
    begin(small, "home", 10)  # not less than a public host may have
    assert small.is_full
