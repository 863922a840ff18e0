"""Rendering of the page: texts of strangers stay texts."""

from __future__ import annotations

import pytest

from udpft.errors import UdpftError
from udpft.web.access import Access
from udpft.web.rendering import Rendering, asset, date_of, printable, sentence
from udpft.web.settings import Settings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grüße, 你好", "grüße, 你好"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("a\udcffb", "a\\udcffb"),
    ],
)
def test_what_cannot_be_shown_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_an_error_is_a_sentence() -> None:
    assert sentence(UdpftError("no such file: 'a\x00'")) == "No such file: 'a\\x00'"
    assert sentence("") == ""


def test_a_time_that_is_none_is_not_shown() -> None:
    assert date_of(2**80) == ""
    assert len(date_of(1_700_000_000_000_000_000)) == 16


def test_every_template_escapes() -> None:
    rendering = Rendering(Settings("", "", "", None), Access("127.0.0.1", 1))  # type: ignore[arg-type]
    error = UdpftError("<script>alert(1)</script>", hint="<b>")
    made = rendering.fragment("error.html", error=error, path="/", reloads="", live="")
    assert "<script>alert" not in made
    assert "&lt;script&gt;alert(1)" in made
    assert "&lt;b&gt;" in made


def test_nothing_refers_to_anything_outside_and_no_style_or_script_is_inline() -> None:
    from importlib.resources import files

    for one in (files("udpft.web") / "assets").iterdir():
        text = asset(one.name).replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", ""), one.name
        assert " style=" not in text
        assert "<style" not in text
        assert " onclick=" not in text
        assert "| safe" not in text
