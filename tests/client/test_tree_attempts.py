"""Attempts at a tree: when there is another one, what it trusts, and which error ends them."""

from __future__ import annotations

import pytest

from udpft.client.tree_attempts import ATTEMPTS, repeated
from udpft.errors import DestinationExists, DigestMismatch, SourceChanged, UdpftError
from udpft.outcome.result import Result

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

    def run(self, *, force: bool = False, trusted: bool = True) -> Result:
        return repeated(
            self.list_tree,
            self.transfer,
            force=force,
            is_different=lambda: DestinationExists("a file differs") if trusted else None,
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


def test_a_file_that_was_trusted_wrongly_is_an_error_without_force() -> None:
    attempts = Attempts(DigestMismatch("they differ"))
    with pytest.raises(DestinationExists):
        attempts.run()
    assert len(attempts.made) == 1


def test_with_force_the_next_attempt_trusts_none() -> None:
    attempts = Attempts(DigestMismatch("they differ"), SourceChanged("it changed"), None)
    assert attempts.run(force=True) is DONE
    assert attempts.made == [(1, True), (2, False), (3, False)]


@pytest.mark.parametrize("force", [False, True])
def test_what_differs_without_trust_is_no_file_of_ours(force: bool) -> None:
    attempts = Attempts(DigestMismatch("they differ"))
    with pytest.raises(DigestMismatch):
        attempts.run(force=force, trusted=False)
    assert len(attempts.made) == 1


def test_a_second_mismatch_is_raised() -> None:
    attempts = Attempts(DigestMismatch("they differ"), DigestMismatch("still"))
    with pytest.raises(DigestMismatch, match="still"):
        attempts.run(force=True)


def test_a_mismatch_of_the_last_attempt_is_raised() -> None:
    changes = (SourceChanged("it changed") for _ in range(ATTEMPTS - 1))
    with pytest.raises(DigestMismatch):
        Attempts(*changes, DigestMismatch("they differ")).run(force=True)


def test_a_listing_that_fails_is_not_made_again() -> None:
    class Broken(Attempts):
        def list_tree(self) -> int:
            super().list_tree()
            raise DigestMismatch("of the listing")

    attempts = Broken(None)
    with pytest.raises(DigestMismatch, match="of the listing"):
        attempts.run(force=True)
    assert attempts.made == []
