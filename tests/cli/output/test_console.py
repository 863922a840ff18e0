"""Console: lines for people, objects for programs, and bytes kept from a terminal."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.cli.output.console import (
    JSON_SCHEMA,
    MAX_LINE,
    Console,
    escape,
    print_aside,
    print_json,
    print_line,
    say_now,
)
from udpft.errors import LocalWriteFailed, UdpftError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello.txt", "hello.txt"),
        ("bücher 第一.txt", "bücher 第一.txt"),
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("two\nlines\ttab\0", r"two\nlines\ttab\x00"),
        ("right\u202eleft", r"right\u202eleft"),
        ("\u2028\u200b\ufeff\x9b", r"\u2028\u200b\ufeff\x9b"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(st.characters()))
def test_escaped_text_is_printable_and_encodes(text: str) -> None:
    shown = escape(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    assert escape(shown) == shown
    shown.encode()


def test_lines_are_said_from_their_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    for verbosity in (-1, 0, 1, 2):
        console = Console(verbosity)
        for level in (0, 1, 2):
            console.say(f"{verbosity}\n{level}", level=level)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [r"0\n0", r"1\n0", r"1\n1", r"2\n0", r"2\n1", r"2\n2"]


def test_a_line_of_an_endless_name_keeps_its_beginning_and_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "a/" * 2_000
    console = Console()
    console.say(f"begin {name} end")
    console.log(f"begin {name} end")
    console.report(UdpftError(f"begin {name} end"))
    for line in capsys.readouterr().err.splitlines():
        assert len(line) < MAX_LINE + 50
        assert "begin a/a/" in line
        assert " [...] " in line
        assert line.endswith("a/ end")
    console.say("x" * MAX_LINE)
    assert capsys.readouterr().err == "x" * MAX_LINE + "\n"


def test_a_log_line_has_the_time_and_its_zone(capsys: pytest.CaptureFixture[str]) -> None:
    Console().log("a\x1bname", peer="::1")
    Console(verbosity=-1).log("nothing")
    Console().log("nothing", level=1)
    stamp, _, text = capsys.readouterr().err.partition(" ")
    assert text == "a\\x1bname\n"
    assert datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S%z").tzinfo


def test_a_log_line_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    Console(log_format="json").log("a\x1bname", peer="::1", bytes=3)
    line = json.loads(capsys.readouterr().err)
    assert datetime.strptime(line.pop("time"), "%Y-%m-%dT%H:%M:%S%z")
    assert line == {"message": "a\x1bname", "peer": "::1", "bytes": 3}


def test_an_error_has_a_line_and_its_hint_another(capsys: pytest.CaptureFixture[str]) -> None:
    Console(verbosity=-1).report(UdpftError("what\nhappened"))
    Console().report(UdpftError("what", hint="do \x1b that"))
    assert capsys.readouterr().err.splitlines() == [
        r"udpft: what\nhappened",
        "udpft: what",
        r"hint: do \x1b that",
    ]


def test_colour_is_for_terminals_that_want_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not Console().colors(sys.stderr)
    with monkeypatch.context() as patch:
        patch.setattr(sys.stderr, "isatty", lambda: True)
        assert Console().colors(sys.stderr)
        assert not Console(color="never").colors(sys.stderr)
        patch.setenv("NO_COLOR", "1")
        assert not Console().colors(sys.stderr)
        assert Console(color="always").colors(sys.stderr)
    Console(color="always").report(UdpftError("what", hint="that"))
    assert "\x1b[31m" in capsys.readouterr().err


def test_objects_carry_the_version_of_their_schema(capsys: pytest.CaptureFixture[str]) -> None:
    print_json("done", name="bücher\n")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.isascii()
    assert json.loads(out) == {"schema": JSON_SCHEMA, "event": "done", "name": "bücher\n"}


def test_standard_output_that_takes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(LocalWriteFailed, match="standard output: No space left") as caught:
            print_line("hello")
        assert caught.value.exit_code == 23
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


@pytest.mark.parametrize("write", [print_line, say_now])
def test_standard_output_that_is_closed_loses_no_data_in_silence(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(LocalWriteFailed, match="standard output: it is closed"):
        write("hello")


def test_standard_error_that_takes_nothing_loses_the_line_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        print_aside("hello")
        Console().report(UdpftError("what"))
        monkeypatch.setattr(sys, "stderr", None)
        print_aside("hello")
        assert not Console().colors(sys.stderr)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
