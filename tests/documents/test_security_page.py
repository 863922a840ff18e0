"""Claims of docs/security.md: each promise has a test that exists, each number is the code's."""

from __future__ import annotations

import ast
import re

import pytest

from tests.documents.test_documents import ROOT, rows, section
from udpft.net import sealed
from udpft.protocol.keyed.notice import no_key_notice
from udpft.protocol.keyed.replay import REPLAY_WINDOW_PACKETS
from udpft.protocol.params import (
    DATA_HEADER_SIZE,
    KEYED_RETRY_OVERHEAD,
    MAX_MEASURED_BYTES,
    MIN_DATAGRAM_SIZE,
    REKEY_PACKETS,
    SEAL_OVERHEAD,
)
from udpft.protocol.wire.listing import MAX_LISTING_BYTES
from udpft.protocol.wire.retry import Retry, encode_retry
from udpft.server.plain import MAX_FILES_A_PORT
from udpft.server.tree_uploads import MAX_UPLOAD_LISTINGS_BYTES

PAGE = (ROOT / "docs/security.md").read_text()
PROMISES = rows(section(PAGE, "## Each promise, and its test"))
NAMED = [name for row in PROMISES for name in row[1].split(", ")]


def test_each_promise_names_a_test() -> None:
    assert len(PROMISES) > 20
    for promise, tests, *_ in PROMISES:
        assert re.fullmatch(r"tests/[\w/]+\.py::test_\w+(, tests/[\w/]+\.py::test_\w+)*", tests), (
            promise
        )


@pytest.mark.parametrize("named", NAMED)
def test_each_test_that_is_named_exists(named: str) -> None:
    path, _, name = named.partition("::")
    functions = [
        one
        for one in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(one, ast.FunctionDef)
    ]
    assert name in {one.name for one in functions}


def test_each_test_is_named_once() -> None:
    assert len(NAMED) == len(set(NAMED))


def words() -> str:
    return " ".join(PAGE.split())


def test_the_shares_that_forged_sources_draw() -> None:
    retry = len(encode_retry(Retry(1, bytes(16), MIN_DATAGRAM_SIZE, 1, 0), 1))
    assert f"draws a RETRY, a {MIN_DATAGRAM_SIZE // retry}th of its size |" in PAGE
    keyed = MIN_DATAGRAM_SIZE // (retry + KEYED_RETRY_OVERHEAD)
    assert f"draws a RETRY, a {keyed}th of its size, that only the key opens" in PAGE


def test_what_keys_add() -> None:
    assert f"A sealed datagram is {SEAL_OVERHEAD} bytes larger" in PAGE
    chunk = 1_472 - DATA_HEADER_SIZE
    assert f"has {chunk - SEAL_OVERHEAD} bytes instead of {chunk}" in words()


def test_windows_and_limits() -> None:
    assert f"of {REPLAY_WINDOW_PACKETS:,} packets" in PAGE
    assert REKEY_PACKETS == 2**24
    assert "Each 2²⁴ packets a new key" in PAGE
    assert f"{MAX_MEASURED_BYTES / 1e9:.0f} GB at once is the most" in words()
    assert f"Lists of trees take {MAX_UPLOAD_LISTINGS_BYTES >> 20} MiB of memory" in words()
    assert f"a listing has {MAX_LISTING_BYTES >> 20} MiB at most" in words()
    assert f"after {MAX_FILES_A_PORT} files at most" in words()


def test_the_word_that_there_is_no_key_and_the_wait_for_a_better_one() -> None:
    size = len(no_key_notice(memoryview(bytes(MIN_DATAGRAM_SIZE))))
    assert "a word of 40 bytes or so" in words()
    assert abs(size - 40) <= 10
    assert "It waits a second before it believes that" in words()
    assert sealed._BELIEVE_AFTER_S == 1.0


def test_how_long_the_handshake_is() -> None:
    lines = len((ROOT / "udpft/protocol/keyed/noise.py").read_text().splitlines())
    [said] = map(int, re.findall(r"It is (\d+) lines here", words()))
    assert abs(lines - said) <= 20
