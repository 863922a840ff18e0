"""Log of a server's failures, and a server that goes on whatever fails in one session."""

from __future__ import annotations

import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.samples import LARGE, sample
from udpft.errors import PartialTransfer, ServerBusy, UdpftError
from udpft.protocol.server.listener import Listener
from udpft.server.failures import LOGGER, MAX_PLACES, TELL_AGAIN_S, FailureLog
from udpft.server.plain import PlainTransfers
from udpft.server.server import Server
from udpft.server.slow_disk import ServedSource
from udpft.storage.source_file import SourceFile


def raised(line: str) -> Exception:
    try:
        exec(compile(line, "/there/code.py", "exec"), {})
    except Exception as error:
        return error
    raise AssertionError(line)


def test_one_place_in_the_code_is_told_of_once_in_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [100.0]
    log = FailureLog(lambda: now[0])
    for _ in range(5):
        log.note(raised("1 / 0"))
    log.note(raised("{}['key']"))
    now[0] += TELL_AGAIN_S
    log.note(raised("1 / 0"))
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(" at ")[0] for message in messages] == [
        "ZeroDivisionError",
        "KeyError",
        "ZeroDivisionError",
    ]
    assert messages[2].endswith("as 4 times before")
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert all(record.exc_info for record in caplog.records)


def test_places_are_remembered_up_to_a_number(caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog(lambda: 0.0)
    for n in range(3 * MAX_PLACES):
        log.note(raised("\n" * n + "1 / 0"))
        assert len(log._told_at) <= MAX_PLACES
    assert len(caplog.records) >= 3 * MAX_PLACES


def test_an_exception_that_was_never_raised_has_no_place(caplog: pytest.LogCaptureFixture) -> None:
    FailureLog(lambda: 0.0).note(ValueError("made up"))
    assert "ValueError at :0: made up" in caplog.text


# ------------------------------------------------------------------------------- a server goes on


def deep_folder(top: Path) -> None:
    """Folders within folders, with a file whose path is longer than PATH_MAX."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(18):
        os.mkdir("d" * 250, dir_fd=fd)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_a_path_beyond_what_a_listing_may_have_is_named_and_the_rest_comes(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "whole").write_bytes(b"whole")
    deep_folder(files)
    with udpft.serve(files, port=0) as server:
        with pytest.raises(PartialTransfer, match="its path is too long"):
            udpft.get("", server=server.address, output=tmp_path / "out", recursive=True)
        assert (tmp_path / "out/whole").read_bytes() == b"whole"
        assert udpft.ping(server.address) > 0
        udpft.get("whole", server=server.address, output=tmp_path)


def no_thread(*_: object, **__: object) -> None:
    raise RuntimeError("can't start new thread")


def test_a_limit_of_tasks_is_busy_and_the_server_goes_on(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    start = threading.Thread.start

    def limited(self: threading.Thread) -> None:
        if self.name == "udpft-job":
            no_thread()
        start(self)

    with udpft.serve(files, port=0, writable=True) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", limited)
            with pytest.raises(ServerBusy, match="no room"):
                udpft.put(samples / "4096", server=server.address, connect_timeout=0.3)
            assert udpft.ping(server.address) > 0
        udpft.put(samples / "4096", server=server.address)
    assert (files / "4096").read_bytes() == sample(4096)
    assert "can't start new thread" in caplog.text


@pytest.mark.parametrize("mode", ["reliable", "plain"])
def test_a_close_that_fails_does_not_end_the_server(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    close = SourceFile.close

    def sometimes(self: SourceFile) -> None:
        close(self)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with udpft.serve(samples, port=0) as server:
        with monkeypatch.context() as patch:
            patch.setattr(SourceFile, "close", sometimes)
            udpft.get("4096", server=server.address, output=tmp_path / "one", mode=mode)
            assert udpft.ping(server.address) > 0
        udpft.get("4096", server=server.address, output=tmp_path / "two", mode=mode)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (Listener, "handle_datagrams"),
        (Listener, "poll_outcome"),
        (PlainTransfers, "transmit"),
    ],
)
def test_a_turn_that_fails_is_not_the_last(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type, call: str
) -> None:
    real = getattr(kind, call)
    failures = [ZeroDivisionError()] * 3

    def sometimes(self: object, *arguments: object) -> object:
        if failures:
            raise failures.pop()
        return real(self, *arguments)

    with udpft.serve(samples, port=0) as server:
        monkeypatch.setattr(kind, call, sometimes)
        if kind is PlainTransfers:
            udpft.get("4096", server=server.address, output=tmp_path / "plain", mode="plain")
        udpft.get(str(LARGE), server=server.address, output=tmp_path)
    assert not failures


def test_a_server_of_which_every_turn_fails_ends(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "poll_transmit", no_thread)
    with Server(samples, port=0) as server, pytest.raises(RuntimeError):
        server.run()


def test_a_reading_end_that_fails_in_plain_is_told_in_the_record(
    samples: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError

    served: list[udpft.Served] = []
    with udpft.serve(samples, port=0, on_served=served.append) as server:
        with monkeypatch.context() as patch:
            patch.setattr(ServedSource, "readv", broken)
            with pytest.raises(PartialTransfer):
                udpft.get("4096", server=server.address, output=tmp_path)
            with pytest.raises(UdpftError):
                udpft.get("4096", server=server.address, output=tmp_path, mode="plain", timeout=0.3)
        assert udpft.ping(server.address) > 0
    assert {one.mode for one in served if one.error} == {"plain", "reliable"}


def test_the_logger_is_the_server_s_own() -> None:
    assert LOGGER.name == "udpft.server"
