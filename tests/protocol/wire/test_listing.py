"""Listings: their contents, their refusals, and the borders of a tree's files."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.wire.listing import (
    Entry,
    MalformedListing,
    NotSent,
    Reason,
    decode_listing_untrusted,
    encode_entry,
    encode_not_sent,
    entries_from,
    identity_of,
    order_of,
)

components = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda text: text not in (".", ".."))
paths = st.lists(components, min_size=1, max_size=4).map("/".join)
entries = st.builds(
    Entry,
    path=paths,
    is_folder=st.just(False),
    size=st.integers(0, 2**60),
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    mode=st.integers(0, 0o777),
    version=st.integers(0, 2**64 - 1),
)


def encode(*some: Entry) -> bytes:
    return b"".join(map(encode_entry, some))


def file(path: str, size: int = 0) -> Entry:
    return Entry(path, False, size, 0, 0o644)


def folder(path: str) -> Entry:
    return Entry(path, True, 0, 0, 0o755)


@given(st.lists(components, unique=True, max_size=8), st.data())
def test_a_listing_arrives_as_it_left(names: list[str], data: st.DataObject) -> None:
    listed = sorted(
        (data.draw(entries)._replace(path=f"top/{name}") for name in names), key=order_of
    )
    whole = [folder("top"), *listed]
    assert decode_listing_untrusted(encode(*whole)) == whole
    assert identity_of(encode(*whole)) != 0


def test_a_name_that_is_no_utf8_arrives_too() -> None:
    odd = file(b"na\xefve".decode(errors="surrogateescape"))
    assert decode_listing_untrusted(encode(odd)) == [odd]


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".", "a\0b", "x" * 256]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(MalformedListing):
        decode_listing_untrusted(encode(file(path)))


@pytest.mark.parametrize(
    "listed",
    [
        (file("b"), file("a")),
        (file("a"), file("a")),
        (file("a"), file("a/b")),
        (folder("a")._replace(size=1),),
        (file("a", 2**63), file("b", 2**63)),
    ],
    ids=["out of order", "twice", "below a file", "a folder with a size", "too large in all"],
)
def test_what_nobody_could_make_is_refused(listed: tuple[Entry, ...]) -> None:
    with pytest.raises(MalformedListing):
        decode_listing_untrusted(encode(*listed))


@given(st.binary(max_size=200))
def test_garbage_is_a_listing_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        listed = decode_listing_untrusted(data)
    except MalformedListing:
        return
    assert encode(*listed) == data[: len(encode(*listed))]


def test_a_path_that_claims_to_be_longer_than_the_listing_is_refused() -> None:
    whole = bytearray(encode(file("name")))
    struct.pack_into("<I", whole, 4, 4000)
    with pytest.raises(MalformedListing):
        decode_listing_untrusted(bytes(whole))


@given(st.integers(1, 600))
def test_a_listing_of_our_own_is_read_in_pieces(size: int) -> None:
    whole = [folder("a"), file("a/b", 3), file("ä" * 100, 2**40)]
    data = encode(whole[0]) + encode_not_sent(NotSent("l", Reason.SYMLINK, "target"))
    data += encode(*whole[1:])
    found, at = [], 0
    while at < len(data):
        piece = data[at : at + size]
        entries, length = entries_from(piece)
        size += not length  # the piece has no room for the next entry
        found += entries
        at += length
    assert found == whole
