"""Synthetic sources and destinations, which speed is measured with."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import Denied
from udpft.protocol.params import MAX_BURST_BYTES, MAX_MEASURED_BYTES
from udpft.protocol.transfer.synthetic import (
    PERIOD_BYTES,
    SyntheticPlace,
    SyntheticSource,
    open_synthetic,
)
from udpft.protocol.wire.hello import Hello, Role


def content(start: int, stop: int) -> bytes:
    """What the pattern has in a range, read byte range by byte range."""
    whole = bytearray(stop - start)
    SyntheticSource(stop).readv([memoryview(whole)], start)
    return bytes(whole)


def hello(role: Role, size: int) -> Hello:
    return Hello(1, 2, b"", 2048, 0, role=role, size=size, mtime_ns=7, identity=9)


@given(
    st.integers(0, 3 * PERIOD_BYTES),
    st.lists(st.integers(0, MAX_BURST_BYTES // 4), min_size=1, max_size=4),
)
def test_it_is_the_same_however_it_is_cut(offset: int, lengths: list[int]) -> None:
    slots = [bytearray(length) for length in lengths]
    read = SyntheticSource(MAX_MEASURED_BYTES).readv([memoryview(slot) for slot in slots], offset)
    assert read == sum(lengths)
    at = offset
    for slot in slots:
        assert slot == content(at, at + len(slot))
        at += len(slot)


def test_it_begins_again_after_its_period() -> None:
    assert content(0, 100_000) == content(PERIOD_BYTES, PERIOD_BYTES + 100_000)
    assert content(PERIOD_BYTES - 10, PERIOD_BYTES + 10)[10:] == content(0, 10)


def test_nothing_on_the_way_makes_it_shorter() -> None:
    assert len(zlib.compress(content(0, 300_000))) >= 300_000


def test_a_hello_opens_one_end_or_the_other() -> None:
    pattern = open_synthetic(hello(Role.MEASURE, 5))
    assert isinstance(pattern, SyntheticSource)
    assert (pattern.size, pattern.changed()) == (5, False)
    place = open_synthetic(hello(Role.MEASURE_PUT, 5))
    assert isinstance(place, SyntheticPlace)
    assert (place.size, place.mtime_ns, place.identity, place.have) == (5, 7, 9, ())
    assert place.commit()


@pytest.mark.parametrize("role", [Role.MEASURE, Role.MEASURE_PUT])
def test_there_is_an_end_to_it(role: Role) -> None:
    assert open_synthetic(hello(role, MAX_MEASURED_BYTES)).size == MAX_MEASURED_BYTES
    with pytest.raises(Denied, match=r"up to 68\.7 GB"):
        open_synthetic(hello(role, MAX_MEASURED_BYTES + 1))
