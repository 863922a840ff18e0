"""Options of ``udpft get``, from the words to what `fetch` is called with."""

from __future__ import annotations

from typing import Any

import pytest

from udpft.cli.commands import get_options
from udpft.cli.main import run
from udpft.cli.output.console import Console


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All that `fetch` was called with."""
    words: dict[str, Any] = {}

    def fetch(console: Console, **given: Any) -> None:
        assert isinstance(console, Console)
        words.update(given)

    monkeypatch.setattr(get_options, "fetch", fetch)
    return words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a", "b"], {"names": ("a", "b"), "mode": "reliable", "output": None, "force": False}),
        (["a", "-s", "lab:7", "-o", "x"], {"server": "lab:7", "output": "x"}),
        (["a", "-f", "-r", "--no-resume"], {"force": True, "recursive": True, "no_resume": True}),
        (["a", "--mode", "plain", "--allow-partial"], {"mode": "plain", "allow_partial": True}),
        (["a", "--sha256", "00ff"], {"sha256": "00ff"}),
        (["a", "--range", "0-99"], {"byte_range": (0, 100)}),
        (["a", "--range", "-5"], {"byte_range": (-5, None)}),
        (["a"], {"byte_range": None}),
        (
            ["a", "--chunk-size", "8Ki", "--limit-rate", "1.5M"],
            {"chunk_size": 8192, "limit_rate": 1_500_000},
        ),
        (["a", "--chunk-size", "auto"], {"chunk_size": "auto"}),
        (
            ["a", "--timeout", "2", "--connect-timeout", "0.5"],
            {"timeout": 2.0, "connect_timeout": 0.5},
        ),
        (["a", "--progress", "line", "--json"], {"progress": "line", "as_json": True}),
    ],
)
def test_each_word_has_its_meaning(
    called: dict[str, Any], arguments: list[str], expected: dict[str, Any]
) -> None:
    assert run(["get", "--no-resume", *arguments]) == 0  # a word that is left to click
    assert {key: called[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("UDPFT_SERVER", "lab", "server"),
        ("UDPFT_MODE", "plain", "mode"),
        ("UDPFT_PROGRESS", "none", "progress"),
    ],
)
def test_the_environment_speaks_where_the_words_do_not(
    called: dict[str, Any], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, word: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert run(["get", "--no-resume", "a"]) == 0
    assert called[word] == value
