"""Claims of docs/security.md: each promise has a test that exists, each number is the code's."""

from __future__ import annotations

import ast
import re
import struct
import tomllib
import tracemalloc
from math import log2

import pytest

from bench import strangers
from tests.documents.test_documents import ROOT, rows, section
from udpft.errors import ExitCode
from udpft.keys import _KEY_BYTES
from udpft.net import sealed
from udpft.protocol.keyed.noise import TAG_SIZE
from udpft.protocol.keyed.notice import no_key_notice
from udpft.protocol.keyed.replay import REPLAY_WINDOW_PACKETS
from udpft.protocol.params import (
    DATA_HEADER_SIZE,
    IDLE_TIMEOUT_S,
    KEYED_RETRY_OVERHEAD,
    MAX_CHUNK_SIZE,
    MAX_MEASURED_BYTES,
    MAX_SESSIONS,
    MIN_DATAGRAM_SIZE,
    REKEY_PACKETS,
    SEAL_OVERHEAD,
)
from udpft.protocol.ranges import RangeSet
from udpft.protocol.server import admission, eviction, greeting_limit
from udpft.protocol.server.listener import MAX_REPLIES_WAITING
from udpft.protocol.transfer.file_digest import FileDigest
from udpft.protocol.transfer.receiver import MAX_BEYOND, MAX_BURSTS_A_BATCH, MAX_CHUNK_RANGES
from udpft.protocol.transfer.sender_timers import HASHING_PATIENCE_S
from udpft.protocol.transfer.work_budget import BURSTS_A_TURN
from udpft.protocol.wire.data import chunk_hashes
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.listing import MAX_LISTING_BYTES
from udpft.protocol.wire.retry import Retry, encode_retry
from udpft.server import listings, metrics, tree_uploads, uploads, write_behind
from udpft.server import sources as server_sources
from udpft.server.plain import MAX_FILES_A_PORT
from udpft.server.slow_disk import MAX_DISK_THREADS
from udpft.server.tree_uploads import MAX_UPLOAD_LISTINGS_BYTES
from udpft.storage.leftovers import ABANDONED_S, IDLE_S
from udpft.storage.trees import walk

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
    assert f"{uploads.BLOCK_BYTES >> 10} KiB for each file and folder" in words()
    assert f"Lists of trees take {MAX_UPLOAD_LISTINGS_BYTES >> 20} MiB of memory" in words()
    assert f"a listing has {MAX_LISTING_BYTES >> 20} MiB at most" in words()
    assert f"after {MAX_FILES_A_PORT} files at most" in words()


def test_what_a_forger_has_to_guess() -> None:
    hello = Hello(2**64 - 1, 2**32 - 1, b"name", 2_048, 0)
    encode_hello(hello, MIN_DATAGRAM_SIZE)
    for larger in (hello._replace(nonce=2**64), hello._replace(connection_id=2**32)):
        with pytest.raises(struct.error):
            encode_hello(larger, MIN_DATAGRAM_SIZE)
    assert "must guess a 32-bit connection id and a 64-bit nonce" in PAGE
    assert f"must guess a tag of {8 * TAG_SIZE} bits" in PAGE


def test_how_damage_is_found() -> None:
    a_packet, a_file = len(chunk_hashes([memoryview(b"a chunk")])), len(FileDigest().digest())
    assert f"found: {8 * a_packet} bits a packet, {8 * a_file} a file" in PAGE


def test_how_many_packets_a_key_seals() -> None:
    def limit(chunk_size: int) -> float:
        """Packets that a key of AES-GCM may seal, for an advantage of 2^-57."""
        blocks = -(-(chunk_size + DATA_HEADER_SIZE) // 16)
        return float(log2(2**35 / blocks))

    assert REKEY_PACKETS == 2**24
    assert limit(MAX_CHUNK_SIZE) == pytest.approx(25, abs=0.1)
    assert int(limit(1_416)) == 28
    assert (
        "2²⁵ packets of the largest size that there is, and 2²⁸ of those that MTU 1500" in words()
    )


def test_when_what_is_left_of_an_upload_is_removed() -> None:
    assert f"for {ABANDONED_S // 86_400} days, or for {IDLE_S // 60} minutes" in words()


def megabytes_of_holes(count: int) -> float:
    """What a receiver keeps of every other chunk."""
    tracemalloc.start()
    try:
        chunks, digest = RangeSet(), FileDigest()
        for at in range(1, 2 * count, 2):
            chunks.add(at, at + 1)
            digest.add(at, bytes(8))
        return tracemalloc.get_traced_memory()[0] / 1e6
    finally:
        tracemalloc.stop()


def test_how_much_work_a_client_may_ask_for() -> None:
    assert f"is hashed {BURSTS_A_TURN} bursts at a time" in words()
    assert f"for {IDLE_TIMEOUT_S:g} s after the last word of one that brings a file" in words()
    assert f"for {HASHING_PATIENCE_S:g} s after that of one that fetches it" in words()
    assert f"a server follows {MAX_CHUNK_RANGES:,} ranges, in some 3 MB" in words()
    assert megabytes_of_holes(MAX_CHUNK_RANGES) == pytest.approx(3, abs=0.5)
    assert f"{MAX_BEYOND:,} chunks of it, and none that was missing first, end" in words()


def test_what_strangers_can_take() -> None:
    mib = 1 << 20
    taken = {row[0]: row[1:] for row in rows(section(PAGE, "## What strangers can take"))}
    assert admission.NEAR_SHARE == 0.5
    assert taken == {
        "transfers": [
            f"{MAX_SESSIONS:,}, or --max-clients",
            f"{admission.MAX_SESSIONS_A_HOST}; this machine, and those in private networks, "
            "half of all",
        ],
        "transfers begun": [
            f"{admission.NEW_SESSIONS_PER_S:,} a second, {admission.NEW_SESSIONS_BURST:,} at once",
            "–",
        ],
        "datagrams of no transfer, such as HELLO": [
            f"{greeting_limit.ALL_GREETINGS_PER_S:,} a second, "
            f"{greeting_limit.ALL_GREETINGS_BURST:,} at once",
            f"{greeting_limit.HOST_GREETINGS_PER_S:,} a second, "
            f"{greeting_limit.HOST_GREETINGS_BURST:,} at once; "
            f"from one port: {greeting_limit.GREETINGS_PER_S:,} a second, "
            f"{greeting_limit.GREETINGS_BURST} at once",
        ],
        "answers that wait to be sent": [f"{MAX_REPLIES_WAITING:,}", "–"],
        "listings in the making": [
            f"{listings.MAX_IN_THE_MAKING}, of {MAX_LISTING_BYTES // mib} MiB at most",
            f"{listings.MAX_MAKINGS_A_HOST}",
        ],
        "listings that are made, wait or are sent": [
            f"{listings.MAX_LISTINGS_BYTES // mib} MiB",
            f"{listings.MAX_LISTINGS_BYTES * listings._HOST_SHARE / mib:g} MiB",
        ],
        "files of trees that are sent, at 300 bytes": [
            f"{listings.MAX_TREE_FILES:,}, or one tree",
            f"{int(listings.MAX_TREE_FILES * listings._HOST_SHARE):,}, or one tree",
        ],
        "places for uploads that are looked at": [
            f"{uploads.MAX_OPENING}",
            f"{uploads.MAX_OPENING_A_HOST}",
        ],
        "files that are opened in threads": [
            f"{server_sources.MAX_OPENING_FILES}",
            f"{server_sources.MAX_OPENING_FILES_A_HOST}",
        ],
        "listings of trees that clients bring": [
            f"{MAX_UPLOAD_LISTINGS_BYTES // mib} MiB",
            f"{tree_uploads.MAX_UPLOAD_LISTINGS_BYTES_A_HOST // mib} MiB",
        ],
        "reports of what was refused of trees": [
            f"{tree_uploads.MAX_REPORTS_BYTES // mib} MiB",
            "–",
        ],
        "uploads' bytes that wait for a slow disk": [
            f"{write_behind.MAX_BEHIND_BYTES_IN_ALL // mib} MiB, "
            f"{write_behind.MAX_BEHIND_BYTES // mib} MiB each",
            "–",
        ],
        "threads that wait for disks": [
            f"{MAX_DISK_THREADS} that read, {MAX_DISK_THREADS} that write",
            "–",
        ],
        "compiled patterns that are kept": [f"{walk.MAX_PATTERNS_KEPT}, 3 MB", "–"],
        "hints for names that are missing": [
            f"{server_sources.HINT_SHARE:.0%} of the time".replace("%", " %"),
            "–",
        ],
        "connections to the metrics page": [f"{metrics.MAX_CONNECTIONS}", "–"],
    }


def test_how_long_work_takes_and_what_waits() -> None:
    assert f"made {listings.SLICE_S * 1e3:g} ms at a time" in words()
    assert walk._NAMES_A_STEP == 16
    assert f"of one batch {MAX_BURSTS_A_BATCH} bursts are taken in" in words()
    assert f"or {greeting_limit.MAX_IN_A_BATCH} HELLOs" in words()
    assert f"beyond that of {greeting_limit.MAX_ADDRESSES:,} addresses" in words()
    kept = {listings.LISTING_KEPT_S, uploads.PLACE_KEPT_S, server_sources.OPENED_KEPT_S}
    assert kept == {tree_uploads.LISTING_KEPT_S} == {30.0}
    assert listings.ABANDONED_AFTER_S == uploads.ABANDONED_AFTER_S == 3.0
    assert f"was not heard of for {eviction.UNHEARD_AFTER_S:g} s" in words()
    slow = f"less than {eviction.SLOW_BYTES_PER_S} B/s arrived in {eviction.JUDGED_AFTER_S:g} s"
    assert slow in words()
    assert f"or a {1 / eviction.FAR_BELOW:g}th of what others have" in words()


def test_the_bounds_of_the_benchmark() -> None:
    assert f"pings of {strangers.MAX_MEDIAN_S * 1e3:g} ms in the median" in words()
    assert f"{strangers.MAX_WORST_S * 1e3:g} ms at worst" in words()
    assert f"within {strangers.MAX_LEFT_BYTES >> 20} MiB after a minute" in words()


def test_exit_codes() -> None:
    assert f"exit {ExitCode.TIMED_OUT:d}, never a wrong file" in words()
    assert f"It ends with {ExitCode.TIMED_OUT:d} after its connect time-out" in words()
    assert f"and the client ends with {ExitCode.KEY_REJECTED:d}." in words()


def test_what_may_be_asked_of_the_page() -> None:
    pytest.importorskip("starlette", reason="the extra web is not installed")
    from udpft.web import conversation, forms, live, transfers

    assert f"A form has {forms.MAX_FORM_BYTES >> 10} KiB" in words()
    assert f"{transfers.MAX_AT_WORK} transfers are at work" in words()
    assert f"{conversation.MAX_WAITING} texts wait for an answer" in words()
    assert f"and {live.MAX_LISTENERS} pages listen" in words()


def test_what_keys_need() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [needed] = extras["optional-dependencies"]["keys"]
    assert f"`pip install '{needed}'`" in PAGE
    assert f"A key is {_KEY_BYTES} bytes" in PAGE
    assert f"in a file as {2 * _KEY_BYTES} hexadecimal digits" in words()


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
