"""Forms of the page: whose they are, how large, and what is wrong in them."""

from __future__ import annotations

import pytest

from tests.web.visitor import HOST, Visitor, text_of
from udpft.errors import UsageError
from udpft.web.forms import MAX_FORM_BYTES, Field, checked, decoded, encoded, whole_number


@pytest.mark.parametrize("form", ["", "x", "ÿ"])
def test_a_form_without_our_number_does_nothing(visitor: Visitor, form: str) -> None:
    answer = visitor.send("/add", own=False, form=form, number="17", name="Ada")
    assert answer.status_code == 403
    assert "This form is too old" in text_of(answer.text)
    assert "= 59" not in visitor.see("/add")


def test_a_form_has_a_largest_size(visitor: Visitor) -> None:
    answer = visitor.send("/add", number="1" * MAX_FORM_BYTES)
    assert answer.status_code == 413
    said = b"form=x&number=" + b"1" * MAX_FORM_BYTES

    def unsaid() -> object:
        yield said

    answer = visitor.http.post(
        "/add",
        content=unsaid(),  # type: ignore[arg-type]
        headers={
            "Origin": f"http://{HOST}",
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    assert answer.status_code == 413
    assert "more than 65.5 kB" in text_of(answer.text)


def test_what_is_no_form_is_told_so(visitor: Visitor) -> None:
    answer = visitor.http.post(
        "/files/store",
        content=b"hello",
        headers={"Origin": f"http://{HOST}", "Content-Type": "multipart/form-data"},
    )
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def test_a_field_keeps_what_was_typed_and_says_what_is_wrong() -> None:
    def refuse(text: str) -> int:
        raise UsageError(f"{text!r} will not do")

    assert checked("x", refuse) == (Field("x", "'x' will not do"), None)
    assert checked("7", int) == (Field("7"), 7)


@pytest.mark.parametrize("text", ["", " ", "x", "1.5", "0x10", "--5", "-", "٣", "²", "9" * 101])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(UsageError, match="whole number from 1 to 100"):
        whole_number(1, 100)(text)


def test_whole_numbers_within_limits() -> None:
    check = whole_number(1, 100, ": because")
    assert [check(text) for text in ("1", " 42 ", "+100", "007")] == [1, 42, 100, 7]
    for text in ("0", "101", "-5", "9" * 100):
        with pytest.raises(UsageError, match="is not from 1 to 100: because"):
            check(text)


@pytest.mark.parametrize("name", ["a b", "a/b", "ü", "a\udcffb", "&=?#%+", "\n"])
def test_a_name_goes_through_a_form_whatever_its_bytes_are(name: str) -> None:
    assert decoded(encoded(name)) == name
    assert encoded(name).isascii()
