"""Files of the server on the page: listed, searched, fetched and stored."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest

import udpft
from tests.web.visitor import Visitor, error_of, text_of
from udpft.errors import UsageError
from udpft.web import files as module
from udpft.web.files import check_fetched, matches, stored_name
from udpft.web.forms import encoded


def test_a_folder_is_listed_with_folders_first(visitor: Visitor) -> None:
    page = visitor.see("/files")
    text = text_of(page)
    assert text.index("sub/") < text.index("hello.txt")
    assert "6 B" in text
    assert "deep.pdf" not in text
    assert "deep.pdf" in text_of(visitor.see("/files?path=sub"))


def test_an_empty_folder_is_told_to_be(visitor: Visitor, served: Path) -> None:
    (served / "empty").mkdir()
    page = visitor.see("/files?path=empty")
    assert "There is nothing in this folder" in page
    assert "<table" not in page


def test_a_name_from_the_network_is_text_and_nothing_else(visitor: Visitor) -> None:
    page = visitor.see("/files")
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_a_search_goes_below(visitor: Visitor) -> None:
    assert "sub/deep.pdf" in text_of(visitor.see("/files?q=DEEP"))
    assert "sub/deep.pdf" in text_of(visitor.see("/files?q=*.pdf"))
    assert "hello.txt" not in text_of(visitor.see("/files?q=deep&in=sub"))
    nothing = visitor.see(f"/files?q={quote('<b>')}")
    assert "Nothing here or below is called <b>" in text_of(nothing)
    assert "<b>" not in nothing


def test_more_than_a_page_holds_is_counted(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SHOWN", 2)
    assert "1 more are not shown" in text_of(visitor.see("/files"))


def test_an_error_is_told_in_its_own_words_with_its_hint(visitor: Visitor) -> None:
    text = text_of(visitor.see("/files?path=nothing", 404))
    assert "No such file on the server: 'nothing'" in text
    with Visitor(server="127.0.0.1:1") as lost:
        lost.open()
        text = text_of(lost.see("/files", 502))
    assert "Nothing listens on 127.0.0.1:1" in text
    assert "udpft serve" in text


def test_a_file_is_fetched_and_its_bytes_are_the_same(
    visitor: Visitor, served: Path, fetched: Path
) -> None:
    answer = visitor.send("/files/fetch", name="sub%2Fdeep.pdf", kind="file", folder="sub")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/files?path=sub#transfers"
    assert "3 kB" in visitor.wait_for("/transfers", "Done, verified")
    assert (fetched / "deep.pdf").read_bytes() == (served / "sub/deep.pdf").read_bytes()


def test_a_folder_is_fetched_with_all_in_it(visitor: Visitor, fetched: Path) -> None:
    visitor.send("/files/fetch", name="sub", kind="folder")
    visitor.wait_for("/transfers", "Done, verified")
    assert (fetched / "sub/deep.pdf").stat().st_size == 3_000


def test_a_name_whose_bytes_are_no_text_is_fetched_all_the_same(
    visitor: Visitor, served: Path, fetched: Path
) -> None:
    name = os.fsdecode(b"caf\xe9")
    (served / name).write_bytes(b"x")
    assert "caf\\udce9" in visitor.see("/files")
    visitor.send("/files/fetch", name=encoded(name), kind="file")
    visitor.wait_for("/transfers", "Done, verified")
    assert (fetched / name).read_bytes() == b"x"


@pytest.mark.parametrize("name", ["", "/", ".bashrc", "sub/.ssh", "..", "a/..", "../.x/"])
def test_no_click_writes_a_hidden_file_or_leaves_the_folder(name: str) -> None:
    with pytest.raises(UsageError):
        check_fetched(name)


def test_such_a_name_is_refused_on_the_page(visitor: Visitor, fetched: Path) -> None:
    answer = visitor.send("/files/fetch", name=".bashrc", kind="file")
    assert answer.status_code == 422
    assert "begins with a dot" in text_of(answer.text)
    for name in ("../../escaped", "/etc/passwd"):
        visitor.send("/files/fetch", name=encoded(name), kind="file")
        visitor.wait_for("/transfers", "No such file")
    assert list(fetched.iterdir()) == []


def test_files_are_stored_under_their_last_names(visitor: Visitor, served: Path) -> None:
    brought = [
        ("file", ("../../up.txt", b"one")),
        ("file", ("C:\\Users\\ada\\two.txt", b"two")),
    ]
    answer = visitor.send("/files/store", files=brought, folder="sub")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/files?path=sub#transfers"
    text = visitor.see("/transfers")
    while text.count("Done, verified") < 2:
        text = visitor.see("/transfers")
    assert (served / "sub/up.txt").read_bytes() == b"one"
    assert (served / "sub/two.txt").read_bytes() == b"two"


def test_a_different_file_is_replaced_where_that_is_asked_for(
    visitor: Visitor, served: Path
) -> None:
    visitor.send("/files/store", files=[("file", ("hello.txt", b"new"))])
    visitor.wait_for("/transfers", "a different file")
    assert (served / "hello.txt").read_bytes() == b"hello\n"
    visitor.send("/files/store", files=[("file", ("hello.txt", b"new"))], force="yes")
    visitor.wait_for("/transfers", "Done, verified")
    assert (served / "hello.txt").read_bytes() == b"new"


def test_no_file_and_too_large_a_file_are_told_beside_the_field(
    visitor: Visitor, served: Path
) -> None:
    before = sorted(served.rglob("*"))
    answer = visitor.send("/files/store", files=[("file", ("", b""))], folder="")
    assert answer.status_code == 422
    assert error_of(answer.text, "file") == "Choose a file first, or drop one here."
    large = [("file", ("large", bytes(200_000)))]
    answer = visitor.send("/files/store", files=large)
    assert answer.status_code == 413
    assert "which this page takes at once" in error_of(answer.text, "file")
    assert "--max-upload" in error_of(answer.text, "file")
    assert sorted(served.rglob("*")) == before


@pytest.mark.parametrize("name", ["..", ".", "a/", "\0", "x\\.."])
def test_a_file_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="names no file"):
        stored_name("", name)


def test_a_server_that_takes_no_uploads_says_so(served: Path, fetched: Path) -> None:
    with (
        udpft.serve(served, port=0) as server,
        Visitor(server=server.address, folder=fetched) as visitor,
    ):
        visitor.open()
        visitor.send("/files/store", files=[("file", ("new.txt", b"new"))])
        assert "--writable" in visitor.wait_for("/transfers", "takes no uploads")


def test_matching_is_by_a_part_or_by_wildcards() -> None:
    assert matches("a/Report.PDF", "report")
    assert matches("a/Report.PDF", "*.pdf")
    assert matches("a/b", "a/")
    assert not matches("a/Report.PDF", "*.txt")


def test_too_many_transfers_are_told_to_wait(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udpft.web.transfers.MAX_AT_WORK", 0)
    answer = visitor.send("/files/fetch", name="hello.txt", kind="file")
    assert answer.status_code == 422
    assert "this page makes no more at once" in text_of(answer.text)
