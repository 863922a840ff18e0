"""Application of the page: its paths, its files, and errors in words."""

from __future__ import annotations

import pytest

from tests.web.visitor import Visitor, text_of
from udpft.web.rendering import PAGES


@pytest.mark.parametrize(("path", "name"), PAGES.items())
def test_each_page_is_there_and_says_which_it_is(visitor: Visitor, path: str, name: str) -> None:
    page = visitor.see(path)
    assert f"<title>{name} – udpft</title>" in page
    assert f'<a href="{path}" aria-current="page">{name}</a>' in page
    assert page.count("<h1>") == 1
    assert '<html lang="en">' in page


def test_the_start_leads_to_the_files(visitor: Visitor) -> None:
    assert visitor.http.get("/").headers["location"] == "/files"


def test_its_own_files_and_no_other_are_sent(visitor: Visitor) -> None:
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        answer = visitor.http.get(f"/assets/{name}")
        assert answer.headers["content-type"].startswith(kind)
    for name in ("base.html", "..%2fserver.py", "x", "%2e%2e"):
        assert visitor.http.get(f"/assets/{name}").status_code in (303, 404)


def test_what_is_not_there_is_told_in_words(visitor: Visitor) -> None:
    assert "There is no such page" in text_of(visitor.see("/nothing", 404))
    assert visitor.send("/files").status_code == 405


def test_a_bug_is_told_in_a_line_and_its_trace_is_for_the_log(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("udpft.web.files.Files._find", broken)
    page = visitor.see("/files", 500)
    assert "A bug in udpft: RuntimeError" in text_of(page)
    assert "secret" not in page
    assert "Traceback" not in page
    assert "Traceback" in caplog.text
