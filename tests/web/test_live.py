"""Live parts of the page: what is sent when, and to how many."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.web.visitor import Visitor
from udpft.web import live as module
from udpft.web.live import Live, Piece


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)
    monkeypatch.setattr(module, "_LOOK_S", 0.005)


def test_a_piece_is_sent_once_for_each_version() -> None:
    live, shown = Live(), {"version": 1}
    heard: list[str] = []

    def topic() -> list[Piece]:
        version = shown["version"]
        return [Piece("a", version, lambda: f"<b>{version}\n</b>"), Piece("b", 0, lambda: "x")]

    async def listen() -> None:
        async for event in live.events(topic):
            heard.append(event)
            if len(heard) == 2:
                live.changed()  # nothing is another one
                shown["version"] = 2
                live.changed()
            if len(heard) == 3:
                live.ending = lambda: True

    asyncio.run(listen())
    told = [json.loads(event.removeprefix("data: ")) for event in heard]
    assert [(one["id"], one["html"]) for one in told] == [
        ("a", "<b>1\n</b>"),
        ("b", "x"),
        ("a", "<b>2\n</b>"),
    ]
    assert all(event.count("\n") == 2 and event.endswith("\n\n") for event in heard)


def test_who_has_gone_is_found_by_a_word_now_and_then() -> None:
    async def first_word() -> str:
        async for event in Live().events(list):
            return event
        return ""

    assert asyncio.run(first_word()).startswith(": ")


def test_so_many_listen_and_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "MAX_LISTENERS", 0)
    with Visitor(folder=tmp_path) as visitor:
        visitor.open()
        assert "Too many pages are open" in visitor.see("/live/transfers", 503)
        assert "There is no such page" in visitor.see("/live/nothing", 404)
