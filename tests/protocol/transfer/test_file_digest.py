"""The digest of a file: the same in whatever order its chunks come."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from xxhash import xxh3_128_digest

from udpft.protocol.transfer.file_digest import (
    REPEATS_A_STEP,
    SEGMENT_CHUNKS,
    FileDigest,
    Repeated,
    SegmentDigests,
)
from udpft.protocol.wire.data import HASH_SIZE

COUNT = 200
HASHES = Random(1).randbytes(COUNT * HASH_SIZE)


def runs(seed: int) -> list[tuple[int, int]]:
    """The chunks cut into runs, in an order of chance."""
    draw = Random(seed)
    cuts = sorted({0, COUNT, *draw.sample(range(COUNT), 40)})
    cut = list(pairwise(cuts))
    draw.shuffle(cut)
    return cut


def hashes(first: int, stop: int) -> bytes:
    return HASHES[first * HASH_SIZE : stop * HASH_SIZE]


@pytest.mark.parametrize("seed", range(10))
def test_the_order_does_not_matter(seed: int) -> None:
    digest = FileDigest()
    for first, stop in runs(seed):
        digest.add(first, hashes(first, stop))
    assert digest.chunks == COUNT
    assert digest.digest() == xxh3_128_digest(HASHES)


def test_it_is_of_what_lies_before_the_first_hole() -> None:
    digest = FileDigest()
    digest.add(10, hashes(10, 20))
    assert (digest.chunks, digest.digest()) == (0, xxh3_128_digest(b""))
    digest.add(0, hashes(0, 5))
    assert (digest.chunks, digest.digest()) == (5, xxh3_128_digest(hashes(0, 5)))
    digest.add(5, hashes(5, 10))
    assert (digest.chunks, digest.digest()) == (20, xxh3_128_digest(hashes(0, 20)))


def test_a_segment_is_compared_by_itself() -> None:
    many = bytes(range(256)) * (10 * SEGMENT_CHUNKS // 256 * HASH_SIZE // 4)
    size = SEGMENT_CHUNKS * HASH_SIZE
    digests = SegmentDigests()
    for at in range(0, len(many), 1_000):
        digests.add(many[at : at + 1_000])
    for segment in range(-(-len(many) // size)):
        own = many[segment * size : (segment + 1) * size]
        assert digests.agrees(segment, own)
        assert not digests.agrees(segment, own[:-1] + b"!")


@pytest.mark.parametrize("count", [1, REPEATS_A_STEP, 2 * REPEATS_A_STEP + 3])
@pytest.mark.parametrize("early", [False, True])
def test_a_run_of_chunks_that_are_alike_takes_no_room_and_is_taken_in_by_steps(
    count: int, early: bool
) -> None:
    digest, alike = FileDigest(), HASHES[:HASH_SIZE]
    if early:
        digest.add_repeated(COUNT, Repeated(alike, count))
        assert (digest.chunks, digest.is_behind) == (0, False)
    digest.add(COUNT + count, HASHES[-HASH_SIZE:])
    digest.add(0, HASHES)
    if not early:
        digest.add_repeated(COUNT, Repeated(alike, count))
    steps = 0
    while digest.is_behind:
        before = digest.chunks
        digest.advance()
        assert digest.chunks <= before + REPEATS_A_STEP + 1
        steps += 1
    assert steps >= count // REPEATS_A_STEP - early
    assert digest.digest() == xxh3_128_digest(HASHES + alike * count + HASHES[-HASH_SIZE:])
