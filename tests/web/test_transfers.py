"""Transfers of the page: seen while they run, stopped, and asked for again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import udpft
from tests.samples import sample
from tests.web.visitor import Visitor, text_of
from udpft.api import RunningServer

SIZE = 3_000_000


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that takes its time."""
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "film").write_bytes(sample(SIZE))
    with udpft.serve(folder, port=0, max_rate=2_000_000) as running:
        yield running


@pytest.fixture
def patient(slow: RunningServer, fetched: Path) -> Iterator[Visitor]:
    """Somebody who has begun to fetch from there."""
    with Visitor(server=slow.address, folder=fetched) as visitor:
        visitor.open()
        visitor.send("/files/fetch", name="film", kind="file")
        yield visitor


def share_of(page: str) -> int:
    [share] = re.findall('<progress max="1000" value="([0-9]+)"', page)
    return int(share)


def test_a_running_transfer_is_seen_moving(patient: Visitor, fetched: Path) -> None:
    page = patient.see("/transfers")
    shares = [share_of(page)]
    while "<progress" in page:
        shares.append(share_of(page))
        assert '<noscript><meta http-equiv="refresh"' in page
        page = patient.see("/transfers")
    assert shares == sorted(shares)
    assert len(set(shares)) >= 3
    assert "Done, verified" in text_of(page)
    assert "http-equiv" not in page
    assert (fetched / "film").read_bytes() == sample(SIZE)
    assert re.search('<polyline class="line" points="0.0,', page)
    assert "<title" in page[page.index("<svg") :]


def test_a_stopped_one_goes_on_where_it_was(patient: Visitor, fetched: Path) -> None:
    patient.wait_for("/transfers", "MB of 3 MB")
    assert patient.send("/transfers/1/stop").status_code == 303
    patient.wait_for("/transfers", "Stopped")
    assert not (fetched / "film").exists()
    patient.send("/transfers/1/again")
    patient.wait_for("/transfers", "Done, verified")
    assert (fetched / "film").read_bytes() == sample(SIZE)


def test_a_different_file_here_is_replaced_by_a_click_and_not_before(
    visitor: Visitor, fetched: Path
) -> None:
    (fetched / "hello.txt").write_bytes(b"mine")
    visitor.send("/files/fetch", name="hello.txt", kind="file")
    visitor.wait_for("/transfers", "Replace it")
    visitor.send("/transfers/1/again")
    assert (fetched / "hello.txt").read_bytes() == b"mine"
    visitor.send("/transfers/1/again", force="yes")
    visitor.wait_for("/transfers", "Done, verified")
    assert (fetched / "hello.txt").read_bytes() == b"hello\n"


def test_its_packets_are_a_page_where_they_were_written_down(visitor: Visitor) -> None:
    visitor.send("/files/fetch", name="hello.txt", kind="file")
    visitor.wait_for("/transfers", "Done, verified")
    visitor.see("/transfers/1/packets", 404)
    visitor.send("/files/fetch", name="sub%2Fdeep.pdf", kind="file", record="yes")
    visitor.wait_for("/transfers", "See each packet")
    page = visitor.see("/transfers/2/packets")
    assert "HELLO" in page
    assert "deep.pdf" in page


def test_one_that_is_not_there_is_not_stopped(visitor: Visitor) -> None:
    for path in ("/transfers/7/stop", "/transfers/7/again"):
        answer = visitor.send(path)
        assert answer.status_code == 404
        assert "There is no such page" in answer.text


def test_the_oldest_that_are_over_are_forgotten(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udpft.web.transfers.MAX_KEPT", 2)
    for name in ("hello.txt", "sub%2Fdeep.pdf", "hello.txt"):
        visitor.send("/files/fetch", name=name, kind="file", record="yes")
        page = visitor.see("/transfers")
        while "<progress" in page:
            page = visitor.see("/transfers")
    assert page.count("<article") == 2
    visitor.see("/transfers/1/packets", 404)


def test_what_runs_is_stopped_with_the_page(slow: RunningServer, fetched: Path) -> None:
    with Visitor(server=slow.address, folder=fetched) as visitor:
        visitor.open()
        visitor.send("/files/fetch", name="film", kind="file")
        visitor.wait_for("/transfers", "MB of 3 MB")
    assert [one.name for one in fetched.iterdir()] == [".film.udpft-part"]


def test_a_bug_is_told_in_a_line_and_its_trace_is_for_the_log(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("udpft.client.client.Client.fetch", broken)
    visitor.send("/files/fetch", name="hello.txt", kind="file")
    text = visitor.wait_for("/transfers", "A bug in udpft: RuntimeError")
    assert "secret" not in text
    assert "Traceback" in caplog.text
