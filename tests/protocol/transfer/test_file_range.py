"""Ranges as files of their own: which bytes they are, of which version, and what has changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import PartialTransfer, RangeNotThere
from udpft.protocol.transfer.file_range import FileRange, bytes_of_range, check_granted
from udpft.protocol.wire.accept import NO_PART, Accept, Part
from udpft.protocol.wire.hello import TO_THE_END
from udpft.testing.network import MemorySource, random_bytes

CONTENT = random_bytes(1_000)


@pytest.mark.parametrize(
    ("wanted", "size", "found"),
    [
        ((0, 10), 100, (0, 10)),
        ((90, 100), 100, (90, 100)),
        ((90, 101), 100, (90, 100)),
        ((99, TO_THE_END), 100, (99, 100)),
        ((0, TO_THE_END), 100, (0, 100)),
        ((-5, TO_THE_END), 100, (95, 100)),
        ((-500, TO_THE_END), 100, (0, 100)),
        ((-(2**63), TO_THE_END), 100, (0, 100)),
        ((-10, 95), 100, (90, 95)),
        ((0, 1), 0, (0, 0)),
        ((-1, TO_THE_END), 0, (0, 0)),
    ],
)
def test_a_range_names_bytes_as_far_as_they_are_there(
    wanted: tuple[int, int], size: int, found: tuple[int, int]
) -> None:
    assert bytes_of_range(wanted, size) == found


EMPTY = [((100, 200), 100), ((2**62, TO_THE_END), 100), ((5, 5), 100), ((5, 3), 100)]
EMPTY += [((0, 0), 100), ((-5, 90), 100), ((1, 2), 0), ((0, 0), 0)]


@pytest.mark.parametrize(("wanted", "size"), EMPTY)
def test_one_with_nothing_in_it_is_refused(wanted: tuple[int, int], size: int) -> None:
    with pytest.raises(RangeNotThere) as caught:
        bytes_of_range(wanted, size)
    assert caught.value.hint == ("its bytes are 0 to 99" if size else "it is empty")


@given(st.integers(-1_100, 1_100), st.integers(1, 1_100), st.integers(1, 400))
def test_it_reads_as_a_slice_does(first: int, stop: int, slot: int) -> None:
    expected = CONTENT[slice(first, stop)]
    if not expected:
        with pytest.raises(RangeNotThere):
            FileRange(MemorySource(CONTENT), (first, stop))
        return
    one = FileRange(MemorySource(CONTENT), (first, stop))
    assert (one.size, one.part.file_size) == (len(expected), 1_000)
    buffer = memoryview(bytearray(min(slot, one.size)))
    for read in (one.readv, one.readv_now):
        assert read([buffer], one.size - len(buffer)) == len(buffer)
        assert buffer == expected[-len(buffer) :]


def test_its_identity_tells_the_version_and_the_first_byte() -> None:
    source, other = MemorySource(CONTENT), MemorySource(CONTENT)
    other.identity = 2
    one = FileRange(source, (5, 100))
    assert one.part == Part(5, 1_000, source.identity)
    assert one.mtime_ns == source.mtime_ns
    assert FileRange(source, (5, 100)).identity == one.identity
    others = {FileRange(other, (5, 100)).identity, FileRange(source, (6, 100)).identity}
    assert len(others | {one.identity, source.identity}) == 4
    source.identity = 0
    assert FileRange(source, (5, 100)).part.file_identity == 1


def test_what_may_have_changed_is_told_as_far_as_it_is_in_it() -> None:
    source = MemorySource(CONTENT)
    one = FileRange(source, (100, 300))
    assert not one.suspects()
    assert not one.changed()
    source.is_suspect = source.is_changed = True
    assert list(one.suspects()) == [(0, 200)]
    assert one.changed()
    one.close()
    assert source.closed


def test_a_file_without_the_range_is_closed() -> None:
    source = MemorySource(CONTENT)
    with pytest.raises(RangeNotThere):
        FileRange(source, (1_000, 1_001))
    assert source.closed


def accept(size: int, part: Part) -> Accept:
    return Accept(1, 2, 2048, size, 0, 9, part=part)


def test_only_the_range_that_was_asked_for_is_granted() -> None:
    check_granted(accept(10, Part(5, 100, 7)), (5, 15))
    check_granted(accept(10, Part(90, 100, 7)), (-10, TO_THE_END))
    check_granted(accept(0, Part(0, 0, 7)), (0, 15))
    for size, part in [
        (100, NO_PART),
        (9, Part(5, 100, 7)),
        (10, Part(6, 100, 7)),
        (10, Part(5, 9, 7)),
        (0, Part(5, 5, 7)),
    ]:
        with pytest.raises(PartialTransfer, match="another range"):
            check_granted(accept(size, part), (5, 15))
