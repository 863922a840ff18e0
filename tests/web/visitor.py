"""Visitor of the page: what a browser would send, without one."""

from __future__ import annotations

import html
import re
import time
from pathlib import Path
from typing import Any, Self

from starlette.testclient import TestClient

from tests.samples import PATIENCE_S
from udpft.web.access import Access
from udpft.web.application import application
from udpft.web.settings import Settings

HOST = "127.0.0.1:8080"


class Visitor:
    """A page that is started for this test, and somebody who visits it.

    Args:
        settings: of the page.
    """

    def __init__(self, **settings: Any) -> None:
        self.access = Access("127.0.0.1", 8080)
        defaults = {"server": "127.0.0.1:1", "add_server": "", "message_server": ""}
        self.settings = Settings(**{**defaults, "folder": Path("/nonexistent"), **settings})
        self.http = TestClient(
            application(self.settings, self.access),
            base_url=f"http://{HOST}",
            follow_redirects=False,
            raise_server_exceptions=False,
        )

    def __enter__(self) -> Self:
        self.http.__enter__()
        return self

    def __exit__(self, *ending: Any) -> None:
        self.http.__exit__(*ending)

    def open(self) -> None:
        """Open the URL that was printed."""
        assert self.http.get("/", params={"token": self.access.token}).status_code == 200

    def see(self, path: str, status: int = 200) -> str:
        """Look at a page; return its HTML."""
        answer = self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, path: str, *, files: Any = None, own: bool = True, **fields: str) -> Any:
        """Send a form of the page's own; return the answer."""
        data = {"form": self.access.form_token, **fields} if own else fields
        return self.http.post(path, data=data, files=files, headers={"Origin": f"http://{HOST}"})

    def wait_for(self, path: str, words: str) -> str:
        """Look at a page until it has these words."""
        until = time.monotonic() + PATIENCE_S
        while words not in (text := text_of(self.see(path))):
            assert time.monotonic() < until, f"no {words!r} in: {text}"
        return text


def text_of(page: str) -> str:
    """Text of a page, without its tags, in single spaces."""
    spaced = re.sub(r"</(t[dh]|p|li|h\d|span|button)>", " ", page)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", spaced)).split())


def error_of(page: str, field: str) -> str:
    """Error that stands beside a field, which names it."""
    [of_input] = re.findall(rf'<input id="{field}"[^>]*>', page, re.DOTALL)
    assert 'aria-invalid="true"' in of_input
    [described] = re.findall('aria-describedby="([^"]*)"', of_input)
    assert f"{field}-error" in described.split()
    [error] = re.findall(rf'<p class="wrong" id="{field}-error" role="alert">(.*?)</p>', page)
    return html.unescape(error)
