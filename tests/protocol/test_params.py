"""Constants of the protocols: they fit each other, and each is documented."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise

import pytest

from udpft.protocol import params
from udpft.protocol.handshake.initiator import HELLO_INTERVAL_MAX_S, HELLO_INTERVALS_S
from udpft.protocol.recovery.congestion import MIN_WINDOW_PACKETS

NAMES = [name for name in vars(params) if name.isupper()]


def documented() -> set[str]:
    """The constants that a string follows, as their documentation."""
    body = ast.parse(inspect.getsource(params)).body
    return {
        one.target.id
        for one, after in pairwise(body)
        if isinstance(one, ast.AnnAssign)
        and isinstance(one.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }


@pytest.mark.parametrize("name", NAMES)
def test_each_constant_says_its_unit_or_its_reason(name: str) -> None:
    assert name in documented()


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_S")])
def test_seconds_are_positive(name: str) -> None:
    value = getattr(params, name)
    assert min(value if isinstance(value, tuple) else (value,)) > 0


def test_every_probe_leaves_a_chunk_of_an_allowed_size() -> None:
    for size in params.PROBE_SIZES:
        chunk = size - params.DATA_HEADER_SIZE
        assert params.MIN_CHUNK_SIZE <= chunk <= params.MAX_CHUNK_SIZE
        assert chunk % params.CHUNK_ALIGNMENT == 0


def test_the_default_chunk_is_among_the_probes_whole() -> None:
    assert params.CHUNK_SIZE + params.DATA_HEADER_SIZE in params.PROBE_SIZES
    assert params.PROBE_SIZES[-1] == params.MIN_DATAGRAM_SIZE


def test_a_file_of_the_most_chunks_leaves_packet_numbers_for_as_many_repeats() -> None:
    assert 2 * params.MAX_CHUNKS <= 2**32


def test_the_largest_ack_fits_every_path() -> None:
    common_and_check, fixed, each = 16, 16, 8
    assert common_and_check + fixed + each * params.MAX_ACK_RANGES <= params.MIN_DATAGRAM_SIZE


def test_timers_are_ordered_by_their_patience() -> None:
    assert params.GRANULARITY_S <= params.MAX_ACK_DELAY_S < params.INITIAL_RTT_S
    assert params.INITIAL_RTT_S < params.MAX_PTO_S < params.CONNECT_TIMEOUT_S
    assert params.CONNECT_TIMEOUT_S < params.IDLE_TIMEOUT_S
    assert list(HELLO_INTERVALS_S) == sorted(HELLO_INTERVALS_S)
    assert HELLO_INTERVALS_S[-1] <= HELLO_INTERVAL_MAX_S


def test_an_answer_to_a_stranger_is_a_fraction_of_the_question() -> None:
    # RFC 9000, 8.1, allows three times what came in.
    assert params.RETRY_MAX_SIZE * 18 <= params.MIN_DATAGRAM_SIZE


def test_the_windows_admit_progress() -> None:
    assert 0 < MIN_WINDOW_PACKETS <= params.INITIAL_WINDOW_PACKETS
    assert params.INITIAL_RECEIVE_ROOM >= params.MAX_CHUNK_SIZE + params.DATA_HEADER_SIZE
    assert params.TIME_THRESHOLD > 1
    assert params.PACKET_THRESHOLD >= 3
