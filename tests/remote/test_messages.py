"""Messages over a remote shell: they come through whole, and what is none is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import NoSuchFile, ShellFailed, UsageError, VersionMismatch
from udpft.keys import Key
from udpft.remote.messages import (
    Answer,
    Found,
    Kind,
    PathsAsked,
    PlaceAsked,
    PutItem,
    Request,
    decode_answer_untrusted,
    decode_request_untrusted,
    encode_answer,
    encode_error,
    encode_request,
)

TEXTS = st.binary(max_size=20).map(lambda data: data.decode(errors="surrogateescape"))
"""Names as they come off a disk: also those that are no UTF-8."""

PATHS = st.builds(PathsAsked, st.lists(TEXTS).map(tuple), st.booleans())
ITEMS = st.builds(PutItem, TEXTS, st.booleans(), st.booleans())
PLACES = st.builds(PlaceAsked, TEXTS, st.lists(ITEMS).map(tuple), st.booleans())
PORTS = st.none() | st.tuples(st.integers(1, 65535), st.integers(1, 65535))
KINDS: st.SearchStrategy[Kind] = st.sampled_from(["file", "folder", "pattern", "none"])
FOUND = st.builds(Found, TEXTS, KINDS, TEXTS, TEXTS, TEXTS)
ADDRESSES = st.lists(st.ip_addresses().map(str), max_size=4).map(tuple)


@given(asked=PATHS | PLACES, ports=PORTS, timeout_s=st.floats(0.1, 1e6))
def test_a_request_is_one_line_and_comes_through(
    asked: PathsAsked | PlaceAsked, ports: tuple[int, int] | None, timeout_s: float
) -> None:
    request = Request(Key(), asked, ports, timeout_s)
    line = encode_request(request)
    assert line.count(b"\n") == 1
    came = decode_request_untrusted(line)
    assert came.key.secret == request.key.secret
    assert came[1:] == request[1:]


@given(port=st.integers(1, 65535), addresses=ADDRESSES, found=st.lists(FOUND).map(tuple))
def test_an_answer_is_one_line_and_comes_through(
    port: int, addresses: tuple[str, ...], found: tuple[Found, ...]
) -> None:
    line = encode_answer(Answer(port, addresses, found))
    assert line.count(b"\n") == 1
    assert decode_answer_untrusted(line) == Answer(port, addresses, found)


@given(st.binary().map(lambda data: b"x" + data) | st.just(b"") | st.just(b'{"a": 1}'))
def test_what_a_shell_prints_when_it_starts_is_no_answer(line: bytes) -> None:
    assert decode_answer_untrusted(line) is None


def test_an_error_over_there_is_told_here() -> None:
    with pytest.raises(ShellFailed, match="over there: no such luck") as caught:
        decode_answer_untrusted(encode_error(NoSuchFile("no such luck", hint="try again")))
    assert caught.value.hint == "try again"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.fixed_dictionaries(dict.fromkeys(("port", "addresses", "found"), JSON)))
def test_an_answer_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ShellFailed):
        decode_answer_untrusted(b'{"udpft": 1, ' + json.dumps(fields).encode()[1:])


@given(st.fixed_dictionaries(dict.fromkeys(("key", "get", "ports", "timeout_s"), JSON)))
def test_so_is_such_a_request(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        decode_request_untrusted(b'{"udpft": 1, ' + json.dumps(fields).encode()[1:])


@given(st.binary())
def test_so_is_what_is_no_json(line: bytes) -> None:
    with pytest.raises((UsageError, VersionMismatch)):
        decode_request_untrusted(line)


def test_so_is_what_is_too_deep_or_too_large_for_a_number() -> None:
    deep = b'{"udpft": 1, "key": ' + b"[" * 100_000
    large = b'{"udpft": 1, "key": "' + b"1f" * 32 + b'", "ports": null, "timeout_s": 1' + b"0" * 400
    for line in (deep, large + b', "get": {"paths": [], "recursive": false}}'):
        with pytest.raises(UsageError):
            decode_request_untrusted(line)
    with pytest.raises(ShellFailed):
        decode_answer_untrusted(b'{"udpft":' + b"[" * 100_000)


def test_another_version_is_told_as_such_at_either_end() -> None:
    with pytest.raises(VersionMismatch):
        decode_answer_untrusted(b'{"udpft": 2, "whatever": []}')
    with pytest.raises(VersionMismatch):
        decode_request_untrusted(b'{"udpft": 2, "whatever": []}')


def test_no_text_of_a_request_shows_its_key() -> None:
    request = Request(Key(), PathsAsked((), False), None, 1.0)
    assert request.key.secret.hex() not in repr(request)
    assert repr(request.key.secret)[2:-1] not in repr(request)
