"""Destinations: the same file, a different one, no regular file, or a part of one."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from hashlib import sha256
from pathlib import Path

import pytest

import udpft
from tests.faults import failing_below, failing_disk
from tests.samples import LARGE, SIZES, sample
from tests.storage.conftest import names, unprivileged
from udpft.api import connect
from udpft.client.client import Client
from udpft.errors import (
    DestinationExists,
    DigestMismatch,
    ExitCode,
    LocalReadFailed,
    LocalWriteFailed,
    PartialTransfer,
    SourceChanged,
    TimedOut,
)
from udpft.outcome.served import Served
from udpft.protocol.contract import OpenedSink
from udpft.protocol.handshake.initiator import HandshakeResult
from udpft.protocol.params import MAX_BURST_BYTES
from udpft.protocol.ranges import RangeSet
from udpft.protocol.wire.accept import Accept
from udpft.protocol.wire.data import chunk_hashes
from udpft.storage.destination import RESUME_HINT, Destination, InMemory, say_how_to_resume
from udpft.storage.journal import JOURNAL_MIN_BYTES, Journal


def state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def test_the_same_file_is_up_to_date_and_nothing_is_sent(samples: Path, tmp_path: Path) -> None:
    served: list[Served] = []
    with (
        udpft.serve(samples, port=0, on_served=served.append) as server,
        connect(server.address) as client,
    ):
        for size in SIZES:
            path = tmp_path / str(size)
            path.write_bytes(sample(size))
            before = state(path)
            result = client.fetch(str(size), path)
            assert result.up_to_date
            assert result.verified
            assert (result.bytes, result.resumed_bytes) == (size, size)
            assert state(path) == before
    assert all(one.bytes_sent < 10_000 for one in served)
    assert names(tmp_path) == sorted(map(str, SIZES))


@pytest.mark.parametrize(
    "old", [b"", b"another", sample(4096)[:-1] + b"!", sample(4096) + b"!"], ids=len
)
def test_a_different_file_is_kept_unless_forced(client: Client, tmp_path: Path, old: bytes) -> None:
    path = tmp_path / "out"
    path.write_bytes(old)
    with pytest.raises(DestinationExists, match="out exists and is a different file") as caught:
        client.fetch("4096", path)
    assert caught.value.exit_code == ExitCode.EXISTS
    assert "--force" in caught.value.hint
    assert path.read_bytes() == old
    client.fetch("4096", path, force=True)
    assert path.read_bytes() == sample(4096)
    assert names(tmp_path) == ["out"]


def test_a_symlink_that_leads_nowhere_is_something(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.symlink_to("nowhere")
    with pytest.raises(DestinationExists, match="out is a symlink that leads nowhere"):
        client.fetch("1", path)
    client.fetch("1", path, force=True)
    assert not path.is_symlink()
    assert path.read_bytes() == sample(1)


def test_a_symlink_to_the_same_file_is_up_to_date(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(sample(2049))
    (tmp_path / "link").symlink_to("file")
    assert client.fetch("2049", tmp_path / "link").up_to_date


def test_what_is_no_file_cannot_be_replaced(client: Client, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for force in (False, True):
        for output, why in (("", "it is a folder"), ("fifo", "it is no regular file")):
            with pytest.raises(LocalWriteFailed, match=why):
                client.fetch("1", tmp_path / output, force=force)
            with pytest.raises(LocalWriteFailed, match=why):
                client.fetch_plain("1", tmp_path / output, force=force)
    assert names(tmp_path) == ["1", "fifo"]


def test_a_file_that_cannot_be_read_cannot_be_compared(client: Client, here: Path) -> None:
    (here / "out").write_bytes(b"secret")
    (here / "out").chmod(0)
    with unprivileged(), pytest.raises(DestinationExists, match="cannot be read to compare it"):
        client.fetch("1", Path("out"))
    (here / "out").chmod(0o600)
    assert (here / "out").read_bytes() == b"secret"


def test_a_disk_that_fails_while_comparing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_bytes(sample(LARGE))
    monkeypatch.setattr(os, "preadv", failing_below("preadv", tmp_path))
    with pytest.raises(LocalReadFailed, match="cannot read the file that is here: Input/output"):
        client.fetch(str(LARGE), tmp_path / "out")


# --------------------------------------------------------- what an earlier fetch left, by itself

CHUNK = 2048
CONTENT = sample(JOURNAL_MIN_BYTES + 5)
COME = MAX_BURST_BYTES // CHUNK * CHUNK
assert COME < JOURNAL_MIN_BYTES
IDENTITY = 77


def agreed(
    have: tuple[tuple[int, int], ...] = (),
    *,
    size: int = len(CONTENT),
    identity: int = IDENTITY,
    chunk_size: int = CHUNK,
) -> HandshakeResult:
    return HandshakeResult(Accept(1, 2, chunk_size, size, 0, identity), 0, b"", 0.0, have)


def receive(
    place: Destination, handshake: HandshakeResult, start: int = 0, stop: int = len(CONTENT)
) -> list[int]:
    """Take a file in, chunk by chunk; return the chunks that were here."""
    opened = place.open_sink(handshake)
    held = [first + n for first, hashes in opened.present for n in range(len(hashes) // 8)]
    chunk_size = handshake.accept.chunk_size
    for at in range(start, stop, chunk_size):
        if at // chunk_size not in held:
            slots = [memoryview(CONTENT)[at : at + chunk_size]]
            opened.sink.writev(slots, at)
            if opened.note_hashes:
                opened.note_hashes(at // chunk_size, chunk_hashes(slots))
    return held


def break_off(path: Path, error: BaseException, **options: bool) -> None:
    with suppress(type(error)), Destination(path, force=False, **options) as place:
        receive(place, agreed(), stop=COME)
        raise error


def test_what_an_earlier_fetch_left_is_gone_on_with(tmp_path: Path) -> None:
    error = TimedOut("silent")
    break_off(tmp_path / "out", error)
    assert error.hint == RESUME_HINT
    told: list[tuple[int, int]] = []
    with Destination(
        tmp_path / "out", force=False, on_resume=lambda *counts: told.append(counts)
    ) as place:
        assert (place.have, place.have_of) == (((0, COME),), IDENTITY)
        assert receive(place, agreed(place.have)) == list(range(COME // CHUNK))
        place.commit()
    assert told == [(COME, len(CONTENT))]
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert names(tmp_path) == ["out"]


def test_chunks_of_another_size_are_hashed_anew_and_noted(tmp_path: Path) -> None:
    break_off(tmp_path / "out", TimedOut("silent"))
    with suppress(TimedOut), Destination(tmp_path / "out", force=False) as place:
        held = receive(place, agreed(place.have, chunk_size=1024), stop=0)
        assert held == list(range(COME // 1024))
        raise TimedOut("silent again")
    with Destination(tmp_path / "out", force=False) as place:
        assert place.have == ((0, COME),)
        receive(place, agreed(place.have, chunk_size=1024))
        place.commit()
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_another_file_begins_anew_in_what_was_left(tmp_path: Path) -> None:
    break_off(tmp_path / "out", TimedOut("silent"))
    with Destination(tmp_path / "out", force=False) as place:
        assert receive(place, agreed(identity=IDENTITY + 1)) == []
        place.commit()
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_what_comes_of_another_file_in_its_place_is_gone_on_with_too(tmp_path: Path) -> None:
    break_off(tmp_path / "out", TimedOut("silent"))
    with suppress(TimedOut), Destination(tmp_path / "out", force=False) as place:
        receive(place, agreed(identity=IDENTITY + 1), stop=COME)
        raise TimedOut("silent again")
    with Destination(tmp_path / "out", force=False) as place:
        assert (place.have, place.have_of) == (((0, COME),), IDENTITY + 1)


def test_a_server_that_takes_what_is_left_for_another_file_is_not_believed(tmp_path: Path) -> None:
    break_off(tmp_path / "out", TimedOut("silent"))
    with (
        Destination(tmp_path / "out", force=False) as place,
        pytest.raises(SourceChanged, match="a part of another file"),
    ):
        place.open_sink(agreed(place.have, identity=IDENTITY + 1))


def test_what_is_worthless_is_not_kept(tmp_path: Path) -> None:
    error = DigestMismatch("wrong")
    break_off(tmp_path / "out", error)
    assert names(tmp_path) == []
    assert error.hint == ""


def test_what_has_come_of_a_file_that_changed_is_kept(tmp_path: Path) -> None:
    error = SourceChanged("it changed", hint="try again when nothing writes to it")
    break_off(tmp_path / "out", error)
    assert names(tmp_path) == [".out.udpft-part"]
    assert error.hint == "try again when nothing writes to it"


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    error = KeyboardInterrupt()
    break_off(tmp_path / "out", error)
    assert error.__notes__ == [RESUME_HINT]
    hinted = LocalWriteFailed("full", hint="free some space")
    say_how_to_resume(hinted)
    assert hinted.hint == f"free some space; {RESUME_HINT}"


def test_without_resume_what_was_left_goes_at_once(tmp_path: Path) -> None:
    break_off(tmp_path / "out", TimedOut("silent"))
    assert names(tmp_path) == [".out.udpft-part"]
    with Destination(tmp_path / "out", force=False, resume=False) as place:
        assert place.have == ()
        assert names(tmp_path) == []
    break_off(tmp_path / "out", TimedOut("silent"), resume=False)
    assert names(tmp_path) == []


def test_a_check_that_is_interrupted_keeps_what_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(tmp_path / "out", TimedOut("silent"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Destination(tmp_path / "out", force=False)
    monkeypatch.undo()
    with Destination(tmp_path / "out", force=False) as place:
        assert place.have == ((0, COME),)


def test_a_leftover_of_a_file_that_came_otherwise_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "out"
    break_off(path, TimedOut("silent"))
    path.write_bytes(CONTENT)
    with Destination(path, force=False) as place:
        assert place.compares
        assert place.have == ((0, len(CONTENT)),)
        opened = place.open_sink(agreed(place.have))
        held = b"".join(hashes for _, hashes in opened.present)
        assert held == chunk_hashes(
            memoryview(CONTENT)[at : at + CHUNK] for at in range(0, len(CONTENT), CHUNK)
        )
        with pytest.raises(PartialTransfer, match="what it was told not to send"):
            opened.sink.writev([memoryview(b"x")], 0)
        place.commit()
    assert names(tmp_path) == ["out"]


def test_a_file_that_is_there_must_be_the_expected_one_too(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(CONTENT)
    for expected, right in ((sha256(CONTENT).hexdigest().upper(), True), ("0" * 64, False)):
        with Destination(tmp_path / "out", force=False, sha256=expected) as place:
            place.open_sink(agreed(place.have))
            with nullcontext() if right else pytest.raises(DigestMismatch):
                place.commit()


def test_a_symlink_may_be_looked_through_or_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "link").symlink_to("file")
    with Destination(tmp_path / "link", force=False) as place:
        assert place.compares
    with pytest.raises(DestinationExists, match=r"link is a symlink$"):
        Destination(tmp_path / "link", force=False, follow=False)


def test_what_the_disk_failed_to_take_is_not_believed_though_it_is_cached(tmp_path: Path) -> None:
    content, step = sample(8 << 20), 1 << 20
    label = agreed(size=len(content))

    def write(sink: OpenedSink, start: int, stop: int) -> None:
        for at in range(start, stop, CHUNK):
            slots = [memoryview(content)[at : at + CHUNK]]
            sink.sink.writev(slots, at)
            assert sink.note_hashes
            sink.note_hashes(at // CHUNK, chunk_hashes(slots))

    with failing_disk(tmp_path) as disk:
        path = disk.folder / "out"
        with suppress(TimedOut), Destination(path, force=False) as place:
            opened = place.open_sink(label)
            write(opened, 0, 2 * step)
            os.sync()
            disk.fail(path.with_name(".out.udpft-part"), 4 * step, step)
            write(opened, 2 * step, 7 * step)
            os.sync()  # whoever asks first hears of the error, and nobody after that
            with suppress(OSError), path.with_name(".out.udpft-part").open("rb") as part:
                os.fsync(part.fileno())
            raise TimedOut("silent")
        disk.repair()
        with Destination(path, force=False) as place:
            have = RangeSet(place.have)
            assert have.first_missing() >= 2 * step
            assert not any(4 * step <= start < 5 * step for start, _ in have)
            assert have.holes(0, 7 * step)
            receive_rest(place, agreed(place.have, size=len(content)), content)
            place.commit()
        disk.remount()
        assert path.read_bytes() == content


def receive_rest(place: Destination, handshake: HandshakeResult, content: bytes) -> None:
    opened = place.open_sink(handshake)
    held = {first + n for first, hashes in opened.present for n in range(len(hashes) // 8)}
    for at in range(0, len(content), CHUNK):
        if at // CHUNK not in held:
            opened.sink.writev([memoryview(content)[at : at + CHUNK]], at)


def test_a_leftover_that_cannot_be_synced_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(tmp_path / "out", TimedOut("silent"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing_below("fdatasync", tmp_path))
        place = Destination(tmp_path / "out", force=False)
        assert place.have == ()
    with place:
        receive(place, agreed())
        place.commit()
    assert (tmp_path / "out").read_bytes() == CONTENT


# -------------------------------------------------------- what appears at the destination meanwhile


@pytest.mark.parametrize("theirs", [b"an hour's work", CONTENT[:-1] + b"!", None])
@pytest.mark.parametrize("last_moment", [False, True])
def test_what_appears_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: bytes | None, last_moment: bool
) -> None:
    path = tmp_path / "out"

    def appear() -> None:
        if theirs is None:
            path.symlink_to("nowhere")
        else:
            path.write_bytes(theirs)

    fsync = os.fsync

    def appear_and_sync(fd: int) -> None:
        if not os.path.lexists(path):
            appear()
        fsync(fd)

    def fetch() -> None:
        with Destination(path, force=False) as place:
            receive(place, agreed())
            if last_moment:  # between the last look and the rename
                monkeypatch.setattr(os, "fsync", appear_and_sync)
            else:
                appear()
            place.commit()

    with pytest.raises(DestinationExists, match="out exists by now and is a different") as caught:
        fetch()
    assert caught.value.exit_code == ExitCode.EXISTS
    assert caught.value.hint == "--force replaces it with what has come; --output names another"
    assert path.is_symlink() if theirs is None else path.read_bytes() == theirs
    monkeypatch.undo()
    with Destination(path, force=True) as place:
        assert place.have == ((0, len(CONTENT)),)
        receive(place, agreed(place.have))
        place.commit()
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["out"]


def test_the_same_file_that_appears_meanwhile_is_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with Destination(path, force=False) as place:
        receive(place, agreed())
        path.write_bytes(CONTENT)
        before = state(path)
        place.commit()
        assert place.appeared
    assert state(path) == before
    assert names(tmp_path) == ["out"]


def test_what_appears_meanwhile_gives_way_to_force(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with Destination(path, force=True) as place:
        receive(place, agreed())
        path.write_bytes(b"an hour's work")
        place.commit()
        assert not place.appeared
    assert path.read_bytes() == CONTENT


def test_a_small_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out"

    def fetch() -> None:
        with Destination(path, force=False) as place:
            receive(place, agreed(size=CHUNK), stop=CHUNK)
            path.write_bytes(b"mine")
            place.commit()

    with pytest.raises(DestinationExists) as caught:
        fetch()
    assert caught.value.hint == "--force replaces it; --output names another"
    assert names(tmp_path) == ["out"]
    assert path.read_bytes() == b"mine"


# ------------------------------------------------------------------------------------- in memory


def test_a_size_that_is_said_takes_no_memory_before_bytes_come() -> None:
    target = InMemory(len(CONTENT))
    opened = target.open_sink(agreed())
    assert target.data == b""
    opened.sink.writev([memoryview(CONTENT)[:100]], 0)
    assert target.data == CONTENT[:100]


def test_what_is_kept_in_memory_has_a_limit() -> None:
    target = InMemory(len(CONTENT))
    opened = target.open_sink(agreed())
    for at in reversed(range(0, len(CONTENT), 10_000)):
        opened.sink.writev([memoryview(CONTENT)[at : at + 10_000]], at)
    target.commit()
    target.close()
    assert target.data == CONTENT
    with pytest.raises(PartialTransfer, match="the listing is too long"):
        InMemory(len(CONTENT) - 1).open_sink(agreed())
