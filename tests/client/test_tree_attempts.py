"""Attempts at a tree: when there is another one, what it trusts, and which error ends them."""

from __future__ import annotations

import pytest

from udpft.client.tree_attempts import ATTEMPTS, HeldAtFirst, repeated
from udpft.errors import DigestMismatch, SourceChanged, UdpftError
from udpft.outcome.result import Result
from udpft.protocol.wire.listing import Entry
from udpft.storage.trees.files import Layout

DONE = Result("tree", "tree", 1, 1.0, "", 0, "reliable", verified=True)


class Attempts:
    """Attempts that end as they are told to; ``made`` has the listing and the trust of each."""

    def __init__(self, *endings: UdpftError | None) -> None:
        self._endings = list(endings)
        self.made: list[tuple[int, bool]] = []
        self._listings = 0

    def list_tree(self) -> int:
        self._listings += 1
        return self._listings

    def transfer(self, listing: int, trust: bool) -> Result:
        self.made.append((listing, trust))
        if ending := self._endings.pop(0):
            raise ending
        return DONE

    def run(self) -> Result:
        return repeated(
            self.list_tree,
            self.transfer,
            differs=lambda: "a file differs",
        )


def test_one_attempt_is_enough() -> None:
    attempts = Attempts(None)
    assert attempts.run() is DONE
    assert attempts.made == [(1, True)]


def test_a_tree_that_has_changed_is_listed_again() -> None:
    attempts = Attempts(SourceChanged("it changed"), None)
    assert attempts.run() is DONE
    assert attempts.made == [(1, True), (2, True)]


def test_a_tree_that_never_rests_is_given_up() -> None:
    attempts = Attempts(*(SourceChanged("it changed") for _ in range(ATTEMPTS)))
    with pytest.raises(SourceChanged):
        attempts.run()
    assert len(attempts.made) == ATTEMPTS


def test_a_file_that_was_trusted_wrongly_is_found_by_an_attempt_that_trusts_none() -> None:
    attempts = Attempts(DigestMismatch("they differ"), None)
    assert attempts.run() is DONE
    assert attempts.made == [(1, True), (2, False)]


def test_after_a_mismatch_no_attempt_trusts() -> None:
    attempts = Attempts(DigestMismatch("they differ"), SourceChanged("it changed"), None)
    assert attempts.run() is DONE
    assert attempts.made == [(1, True), (2, False), (3, False)]


def test_a_file_that_cannot_be_read_is_left_out_by_the_next_listing_and_costs_no_attempt() -> None:
    broken = [SourceChanged(f"cannot read: {n}") for n in range(3 * ATTEMPTS)]
    attempts = Attempts(*broken, None)
    assert attempts.run() is DONE
    assert len(attempts.made) == len(broken) + 1


def test_a_second_mismatch_is_raised() -> None:
    attempts = Attempts(DigestMismatch("they differ"), DigestMismatch("still"))
    with pytest.raises(DigestMismatch, match="still"):
        attempts.run()


def test_a_mismatch_of_the_last_attempt_is_raised() -> None:
    changes = (SourceChanged("it changed") for _ in range(ATTEMPTS - 1))
    with pytest.raises(DigestMismatch):
        Attempts(*changes, DigestMismatch("they differ")).run()


def test_a_listing_that_fails_is_not_made_again() -> None:
    class Broken(Attempts):
        def list_tree(self) -> int:
            super().list_tree()
            raise DigestMismatch("of the listing")

    attempts = Broken(None)
    with pytest.raises(DigestMismatch, match="of the listing"):
        attempts.run()
    assert attempts.made == []


def test_what_an_earlier_attempt_brought_was_not_held_at_first() -> None:
    files = [Entry(name, False, size, 0, 0o644, 1) for name, size in (("a", 10), ("b", 5))]
    held = HeldAtFirst()
    held.note(Layout(files), [(4, 12)], trust=True)
    held.note(Layout(files), [(0, 15)], trust=True)
    assert (held.attempts, held.bytes_of(files), held.bytes_of(files[1:])) == (2, 8, 2)
    held.note(Layout(files), [], trust=False)
    assert held.bytes_of(files) == 0
