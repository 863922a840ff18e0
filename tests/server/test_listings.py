"""Listings of a server: made in slices, shared, bounded and forgotten."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.samples import PATIENCE_S
from udpft.errors import Denied, NoSuchFile, ServerBusy
from udpft.protocol.server.session_creation import NOBODY, Asker
from udpft.protocol.wire.hello import RECURSIVE, REPORT
from udpft.protocol.wire.listing import decode_listing_untrusted, decode_report_untrusted
from udpft.server import listings as module
from udpft.server.listings import (
    ABANDONED_AFTER_S,
    LISTING_KEPT_S,
    LISTING_RETRY_AFTER_S,
    MAX_AWAITING,
    MAX_IN_THE_MAKING,
    MAX_MAKINGS_A_HOST,
    MIN_RETRY_AFTER_S,
    SLICE_S,
    SLOW_KEPT_S,
    SLOW_STEP_S,
    Listing,
    Listings,
    Tree,
)
from udpft.server.slow_disk import DiskThreads
from udpft.storage.served_folder import ServedRoot
from udpft.storage.trees.failures import Failures
from udpft.storage.trees.walk import Step

FILES = 200


class Clock:
    """A clock that is set by hand, and moves on by itself where work is to take its time."""

    now = 100.0
    step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(FILES):
        (tmp_path / f"{n:03}").write_bytes(bytes([n]))
    return tmp_path


@pytest.fixture
def listings(folder: Path, clock: Clock) -> Iterator[Listings]:
    with ServedRoot(folder) as root:
        listings = Listings(root, Failures(clock), DiskThreads(), clock)
        yield listings
        listings.close()


@pytest.fixture
def slow(clock: Clock) -> None:
    """Each look at the clock takes a fifth of a slice."""
    clock.step = SLICE_S / 5


def asker(number: int, host: str = "10.0.0.1") -> Asker:
    return Asker((host, number), host)


def content(listing: Listing) -> bytes:
    with listing.open() as source:
        buffer = bytearray(source.size)
        source.readv([memoryview(buffer)], 0)
        return bytes(buffer)


def is_busy(listings: Listings, pattern: str, who: Asker = NOBODY) -> bool:
    try:
        listings.open(pattern, RECURSIVE, who)
    except ServerBusy:
        return True
    return False


def finish(listings: Listings) -> int:
    """Do all work; return the number of turns that it took."""
    turns = 0
    while listings.at_work:
        listings.work()
        turns += 1
    return turns


def test_a_short_listing_is_made_at_once(listings: Listings) -> None:
    entries = decode_listing_untrusted(content(listings.open("", 0, NOBODY)))
    assert [entry.path for entry in entries] == [f"{n:03}" for n in range(FILES)]
    assert not listings.at_work


def test_a_report_names_what_is_not_sent_and_its_tree_has_the_rest(
    listings: Listings, folder: Path
) -> None:
    (folder / ".hidden").touch()
    report = decode_report_untrusted(content(listings.open("", RECURSIVE | REPORT, NOBODY)))
    assert [entry.path for entry in report.not_sent] == [".*"]
    tree = listings.open_tree("", RECURSIVE | REPORT, NOBODY)
    assert tree.files == report.entries
    assert (tree.size, tree.starts[-1]) == (FILES, FILES)


@pytest.mark.usefixtures("slow")
def test_a_long_listing_is_made_in_slices_and_its_client_told_to_come_back(
    listings: Listings,
) -> None:
    with pytest.raises(ServerBusy) as caught:
        listings.open("", 0, NOBODY)
    assert caught.value.retry_after_s == MIN_RETRY_AFTER_S
    assert finish(listings) > FILES / 10
    assert len(decode_listing_untrusted(content(listings.open("", 0, NOBODY)))) == FILES


@pytest.mark.usefixtures("slow")
def test_who_waits_for_long_is_to_come_back_less_often(listings: Listings, clock: Clock) -> None:
    waits = []
    for passed in (0.0, 0.01, 0.05, 0.1, 1.0):
        clock.now += passed
        with pytest.raises(ServerBusy) as caught:
            listings.open("", 0, NOBODY)
        waits.append(caught.value.retry_after_s)
        listings._slice_left_s = 0.0  # the same turn
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (MIN_RETRY_AFTER_S, LISTING_RETRY_AFTER_S)
    assert MIN_RETRY_AFTER_S < waits[2] < LISTING_RETRY_AFTER_S


@pytest.mark.usefixtures("slow")
def test_no_slice_takes_longer_however_little_is_found(listings: Listings, clock: Clock) -> None:
    assert is_busy(listings, "*nothing*")
    while listings.at_work:
        began = clock.now
        listings.work()
        assert clock.now - began <= SLICE_S + 5 * clock.step
    with pytest.raises(NoSuchFile):
        listings.open("*nothing*", RECURSIVE, NOBODY)


@pytest.mark.usefixtures("slow")
def test_all_that_ask_in_one_turn_share_one_slice(listings: Listings, clock: Clock) -> None:
    began = clock.now
    asked = 4
    for n in range(asked):
        assert is_busy(listings, "*" * (n + 1))
    assert clock.now - began <= SLICE_S + asked * 6 * clock.step


@pytest.mark.usefixtures("slow")
def test_a_listing_is_kept_for_its_tree_and_made_anew_for_another_look(
    listings: Listings, folder: Path
) -> None:
    assert is_busy(listings, "")
    finish(listings)
    identity = listings.open("", RECURSIVE, NOBODY).identity
    (folder / "new").touch()
    assert listings.open_tree("", RECURSIVE, NOBODY).identity == identity
    assert is_busy(listings, "")
    finish(listings)
    assert listings.open("", RECURSIVE, NOBODY).identity != identity


@pytest.mark.usefixtures("slow")
def test_those_that_waited_share_one_listing(listings: Listings) -> None:
    for n in range(MAX_AWAITING + 2):
        assert is_busy(listings, "", asker(n))
    [making] = listings._makings.values()
    assert len(making.awaited_by) == MAX_AWAITING  # their addresses take memory, too
    finish(listings)
    first, second = (listings.open("", RECURSIVE, asker(n)) for n in range(2))
    assert first is second
    assert is_busy(listings, "", asker(0))  # who asks again has a new one made


@pytest.mark.usefixtures("slow")
def test_those_that_waited_share_one_refusal(listings: Listings) -> None:
    for n in range(2):
        assert is_busy(listings, "*nothing*", asker(n))
    finish(listings)
    for n in range(2):
        with pytest.raises(NoSuchFile):
            listings.open("*nothing*", RECURSIVE, asker(n))
    assert not listings._makings


def test_listings_of_the_same_content_are_one(listings: Listings) -> None:
    first = listings.open("", RECURSIVE, NOBODY)
    second = listings.open(".", 0, asker(1))
    assert first is second
    assert len(listings._held) == 1
    del first, second
    assert not listings._held
    assert not listings._known


@pytest.mark.usefixtures("slow")
def test_what_nobody_fetches_is_dropped_by_itself(listings: Listings, clock: Clock) -> None:
    assert is_busy(listings, "")
    assert listings.next_timeout() < clock.now
    finish(listings)
    at = listings.next_timeout()
    assert clock.now < at <= clock.now + LISTING_KEPT_S
    clock.now = at + 1
    listings.work()
    assert not listings._makings
    assert not listings._held
    assert listings.next_timeout() > clock.now + 1e9


@pytest.mark.usefixtures("slow")
def test_one_that_its_client_no_longer_asks_for_is_given_up(
    listings: Listings, clock: Clock
) -> None:
    assert is_busy(listings, "")
    clock.now += LISTING_KEPT_S - 1
    assert is_busy(listings, "")
    clock.now += LISTING_KEPT_S - 1
    listings.work()
    assert listings.at_work
    clock.now += 2
    listings.work()
    assert not listings.at_work


@pytest.mark.usefixtures("slow")
def test_only_a_few_are_made_at_once(listings: Listings, clock: Clock) -> None:
    for n in range(MAX_IN_THE_MAKING + 1):
        assert is_busy(listings, "*" * (n + 1))
    assert len(listings._makings) == MAX_IN_THE_MAKING
    clock.now += ABANDONED_AFTER_S - 1
    assert is_busy(listings, "*")  # it comes back, and so is kept
    clock.now += 1
    assert is_busy(listings, "0*")
    patterns = {pattern for pattern, _ in listings._makings}
    assert len(patterns) == MAX_IN_THE_MAKING
    assert {"*", "0*"} < patterns
    assert "**" not in patterns


@pytest.mark.usefixtures("slow")
def test_one_host_leaves_room_for_the_others(listings: Listings) -> None:
    for n in range(MAX_MAKINGS_A_HOST + 1):
        assert is_busy(listings, "*" * (n + 1), asker(n))
    assert len(listings._makings) == MAX_MAKINGS_A_HOST
    assert is_busy(listings, "0*", asker(1, "10.0.0.2"))
    assert len(listings._makings) == MAX_MAKINGS_A_HOST + 1


def test_a_short_listing_needs_no_place_among_the_long_ones(
    listings: Listings, clock: Clock
) -> None:
    clock.step = SLICE_S / 5
    for n in range(MAX_IN_THE_MAKING):
        assert is_busy(listings, "*" * (n + 1))
    listings.work()
    clock.step = 0.0
    assert listings.open("007", 0, NOBODY).file_count == 1


@pytest.mark.usefixtures("slow")
def test_a_listing_has_a_greatest_length(
    listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LISTING_BYTES", 100)
    assert is_busy(listings, "")
    finish(listings)
    with pytest.raises(Denied, match="too long"):
        listings.open("", RECURSIVE, NOBODY)


def test_what_all_listings_take_is_bounded_and_a_host_has_half(
    listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [listings.open("0*", 0, asker(1)).open()]  # being sent, which counts too
    monkeypatch.setattr(module, "MAX_LISTINGS_BYTES", 2 * held[0].size)
    with pytest.raises(ServerBusy, match="too many"):
        listings.open("1*", 0, asker(2))
    other = asker(1, "10.0.0.2")
    held.append(listings.open("1*", 0, other).open())
    with pytest.raises(ServerBusy, match="too many"):
        listings.open("00*", 0, asker(1, "10.0.0.3"))
    held.clear()
    gc.collect()
    listings.open("00*", 0, asker(1, "10.0.0.3"))


@pytest.mark.usefixtures("slow")
def test_one_that_grows_beyond_the_bound_ends(
    listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(module, "MAX_LISTINGS_BYTES", 1_000)
    assert is_busy(listings, "")
    assert finish(listings) < FILES / 10
    with pytest.raises(ServerBusy, match="too many"):
        listings.open("", RECURSIVE, NOBODY)


def test_transfers_of_a_tree_share_its_layout_and_the_files_of_all_are_bounded(
    listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (listings.open_tree("0*", RECURSIVE, asker(n)) for n in range(2))
    assert first is second
    monkeypatch.setattr(module, "MAX_TREE_FILES", FILES)
    with pytest.raises(ServerBusy, match="too many"):
        listings.open_tree("1*", RECURSIVE, asker(2))  # half of them are a host's
    other = listings.open_tree("1*", RECURSIVE, asker(2, "10.0.0.2"))
    with pytest.raises(ServerBusy, match="too many"):
        listings.open_tree("000", RECURSIVE, asker(3, "10.0.0.3"))
    del first, second, other
    gc.collect()
    assert not listings._trees
    assert isinstance(listings.open_tree("", RECURSIVE, asker(2)), Tree)  # one alone may have more


def test_where_a_call_may_hang_a_thread_makes_it_and_the_loop_goes_on(
    listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, real = threading.Event(), module.steps_of

    def hanging(*args: object, **options: object) -> Iterator[Step]:
        assert go.wait(PATIENCE_S)
        yield from real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "steps_of", hanging)
    monkeypatch.setattr(module, "is_remote_below", lambda _: True)
    assert is_busy(listings, "")
    [making] = listings._makings.values()
    assert not listings.at_work
    listings.work()
    go.set()
    while making.at_work:
        assert is_busy(listings, "") or not making.at_work
    tree = listings.open_tree("", RECURSIVE, NOBODY)
    assert len(tree.files) == FILES


def test_a_local_disk_that_was_slow_once_holds_up_the_loop_no_more(
    listings: Listings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, real = threading.Event(), module.steps_of

    def slow(*args: object, **options: object) -> Iterator[Step]:
        if clock.now < 101:
            clock.now += SLICE_S + SLOW_STEP_S
        yield None
        yield None
        assert go.wait(PATIENCE_S)
        yield from real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "steps_of", slow)
    assert is_busy(listings, "0*")  # one step was slow, and a thread has gone on
    clock.now = 101.0
    assert is_busy(listings, "1*")  # a thread began it
    assert not listings.at_work
    listings.work()
    go.set()
    for pattern in ("0*", "1*"):
        while is_busy(listings, pattern):
            continue
        assert listings.open(pattern, 0, NOBODY).file_count == 100
    clock.now += SLOW_KEPT_S
    jobs = list(listings._threads._jobs)
    listings.open("00*", 0, NOBODY)
    assert listings._threads._jobs == jobs  # the loop makes them again


def test_a_thread_that_nobody_waits_for_ends(
    listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, ended = 0, threading.Event()

    def endless(*_: object, **__: object) -> Iterator[Step]:
        nonlocal steps
        try:
            while True:
                steps += 1
                yield None
        finally:
            ended.set()

    monkeypatch.setattr(module, "steps_of", endless)
    monkeypatch.setattr(module, "is_remote_below", lambda _: True)
    assert is_busy(listings, "")
    listings.close()
    gc.collect()
    assert ended.wait(PATIENCE_S)
    assert steps


def test_no_descriptor_is_left_open(listings: Listings) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for pattern in ("", "0*", "*nothing*"):
        try:
            listings.open(pattern, 0, NOBODY).open().close()
        except NoSuchFile:
            continue
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("bindfs"), reason="mounts need root")
def test_a_mount_below_the_folder_is_listed_in_a_thread(listings: Listings, folder: Path) -> None:
    (folder / "a b").mkdir()
    assert not module.is_remote_below(listings._root.fileno())
    mounted = subprocess.run(["bindfs", folder, folder / "a b"], capture_output=True)
    if mounted.returncode:
        pytest.skip("no mounts in user space here")
    try:
        assert module.is_remote_below(listings._root.fileno())
        while is_busy(listings, "a b/0*"):
            continue
    finally:
        subprocess.run(["umount", folder / "a b"], check=True)
    assert not module.is_remote_below(listings._root.fileno())
