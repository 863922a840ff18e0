"""Forms of the page, read with limits, and names that go through URLs and forms as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qs, quote, unquote

import python_multipart  # noqa: F401 - else only the first form would tell that it is missing
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.types import Message

from udpft.errors import Denied, LocalWriteFailed, TooLarge, UsageError
from udpft.units import format_bytes
from udpft.web.access import Access

MAX_FORM_BYTES = 1 << 16
"""Bytes of a form that brings no files."""

MAX_FILES = 50
"""Files that one form may bring."""

_MAX_FIELDS = 50

T = TypeVar("T")


class Field(NamedTuple):
    """Field of a form: ``text`` as it was typed, ``error`` in words, empty where there is none."""

    text: str = ""
    error: str = ""


def checked(text: str, check: Callable[[str], T]) -> tuple[Field, T | None]:
    """Check what was typed; return the field to be shown, and its value where it is right.

    Args:
        text: what was typed.
        check: returns the value; raises UsageError, whose words are for the user.
    """
    try:
        return Field(text), check(text)
    except UsageError as error:
        words = str(error)
        return Field(text, words[:1].upper() + words[1:]), None


def whole_number(low: int, high: int, why: str = "") -> Callable[[str], int]:
    """Make a check of a whole number within limits, and ``why`` it has them."""

    def check(text: str) -> int:
        digits = text.strip()
        sign = digits[:1] in ("-", "+")
        if not digits[sign:].isascii() or not digits[sign:].isdigit() or len(digits) > 100:
            raise UsageError(f"write a whole number from {low} to {high}")
        if not low <= int(digits) <= high:
            raise UsageError(f"{int(digits)} is not from {low} to {high}{why}")
        return int(digits)

    return check


async def read_form(request: Request, access: Access, max_bytes: int = MAX_FORM_BYTES) -> FormData:
    """Read a form of ours.

    Args:
        request: that brings it.
        access: knows our own.
        max_bytes: of all of it, files included.

    Raises:
        TooLarge: it has more.
        Denied: it is not ours.
        LocalWriteFailed: its files cannot be kept.
    """
    too_large = TooLarge(
        f"that is more than {format_bytes(max_bytes)}, which this page takes at once",
        hint="`udpft put` has no such limit; --max-upload sets another one",
    )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise too_large
    count = 0

    async def receive() -> Message:
        nonlocal count
        message: Message = await request.receive()
        count += len(message.get("body", b""))
        if count > max_bytes:
            raise too_large
        return message

    limited = Request(request.scope, receive)
    try:
        form = await limited.form(max_files=MAX_FILES, max_fields=_MAX_FIELDS)
    except OSError as error:
        raise LocalWriteFailed(
            f"cannot keep what comes: {error.strerror}", hint="$TMPDIR names another folder for it"
        ) from error
    if not access.is_own_form(text_in(form, "form")):
        await form.close()
        raise Denied("this form is too old", hint="reload the page, and send it again")
    return form


def text_in(form: FormData, name: str) -> str:
    """Text of a form's field; empty where there is none."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def text_in_query(request: Request, name: str) -> str:
    """Text of a field in the URL, whose bytes may be no UTF-8; empty where there is none."""
    query: str = request.scope["query_string"].decode("latin-1")
    return parse_qs(query, errors="surrogateescape").get(name, [""])[0]


def encoded(name: str) -> str:
    """Write a name for a URL or for a hidden field. It is kept, whatever its bytes are."""
    return quote(name.encode(errors="surrogateescape"), safe="")


def decoded(text: str) -> str:
    """Read a name that `encoded` wrote."""
    return unquote(text, errors="surrogateescape")
