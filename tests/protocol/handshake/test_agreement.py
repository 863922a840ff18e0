"""Agreement: chunks that fit the path, and what of the file need not be sent."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.handshake.agreement import (
    agreed_chunk_size,
    byte_ranges,
    held_ranges,
    whole_chunks,
)
from udpft.protocol.params import (
    CHUNK_ALIGNMENT,
    CHUNK_SIZE,
    DATA_HEADER_SIZE,
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
    SEAL_OVERHEAD,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.hello import MAX_HAVE, Hello

HAVE = ((0, 64), (128, 192))
HELLO = Hello(nonce=1, connection_id=2, name=b"f", chunk_size=64, receive_room=1, have=HAVE)
ACCEPT = Accept(nonce=1, connection_id=3, chunk_size=64, size=1_000, mtime_ns=0, identity=5)


@given(st.integers(0, 2**64 - 1), st.integers(0, 65_507), st.booleans())
def test_chunks_are_of_a_possible_size_whatever_is_asked_for(
    wanted: int, hello_size: int, keyed: bool
) -> None:
    size = agreed_chunk_size(wanted, hello_size, keyed=keyed)
    assert MIN_CHUNK_SIZE <= size <= MAX_CHUNK_SIZE
    assert size % CHUNK_ALIGNMENT == 0
    packet_size = size + DATA_HEADER_SIZE + (SEAL_OVERHEAD if keyed else 0)
    assert packet_size <= hello_size or size == MIN_CHUNK_SIZE


@pytest.mark.parametrize(
    ("wanted", "hello_size", "keyed", "expected"),
    [
        (2_048, 9_000, False, 2_048),
        (0, 9_000, False, CHUNK_SIZE),
        (2_055, 9_000, False, 2_048),
        (2_048, 1_472, False, 1_448),
        (2_048, 1_472, True, 1_416),
    ],
)
def test_it_is_the_size_asked_for_as_far_as_the_path_carries_it(
    wanted: int, hello_size: int, keyed: bool, expected: int
) -> None:
    assert agreed_chunk_size(wanted, hello_size, keyed=keyed) == expected


@pytest.mark.parametrize(("have_of", "expected"), [(0, HAVE), (5, HAVE), (6, ())])
def test_only_what_is_held_of_that_file_is_left_out(
    have_of: int, expected: tuple[tuple[int, int], ...]
) -> None:
    assert held_ranges(HELLO._replace(have_of=have_of), ACCEPT) == expected


@pytest.mark.parametrize(
    ("ranges", "size", "expected"),
    [
        ([], 1_000, []),
        ([(0, 1_000)], 1_000, [(0, 16)]),
        ([(0, 1_024)], 1_024, [(0, 16)]),  # the empty chunk behind is nothing to have
        ([(1, 192)], 1_000, [(1, 3)]),
        ([(0, 999)], 1_000, [(0, 15)]),
        ([(960, 1_000)], 1_000, [(15, 16)]),
        ([(10, 60)], 1_000, []),
        ([(128, 64)], 1_000, []),
        ([(0, 2_000)], 1_000, []),  # of another file
    ],
)
def test_ranges_of_bytes_hold_whole_chunks(
    ranges: list[tuple[int, int]], size: int, expected: list[tuple[int, int]]
) -> None:
    assert list(whole_chunks(ranges, 64, size)) == expected


@given(st.sets(st.integers(0, 60)), st.integers(1, 4_000))
def test_chunks_as_bytes_are_those_chunks_again(chunks: set[int], size: int) -> None:
    held = RangeSet()
    for chunk in chunks:
        if chunk * 64 < size:
            held.add(chunk, chunk + 1)
    ranges = byte_ranges(held, 64, size)
    assert len(ranges) <= MAX_HAVE
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    again = set(whole_chunks(ranges, 64, size))
    assert again <= set(held)
    assert len(again) == min(MAX_HAVE, len(list(held)))


@pytest.mark.parametrize("size", [0, 1_024])
def test_an_empty_last_chunk_is_no_range(size: int) -> None:
    held = RangeSet()
    held.add(size // 64, size // 64 + 1)
    assert byte_ranges(held, 64, size) == ()


def test_where_there_are_too_many_ranges_the_largest_are_named() -> None:
    held = RangeSet()
    for run in range(MAX_HAVE + 3):
        held.add(20 * run, 20 * run + 1 + run)
    expected = tuple((20 * run * 64, (20 * run + 1 + run) * 64) for run in range(3, MAX_HAVE + 3))
    assert byte_ranges(held, 64, 1 << 20) == expected
