"""Outcome of a tree: which error it is, and that the error has the result."""

from __future__ import annotations

import pytest

from udpft.client.tree_outcome import Omissions, choice_of, ended, nothing_sent
from udpft.errors import DestinationExists, PartialTransfer
from udpft.protocol.wire.listing import NotSent, Reason

RESULT = nothing_sent("t", "out", 0, 1.0)


def test_what_is_left_out_is_no_error() -> None:
    omissions = Omissions()
    omissions.add_not_sent(NotSent("t/link", Reason.SYMLINK), asked=False)
    omissions.add_not_sent(NotSent("t/.*", Reason.HIDDEN, number=3), asked=False)
    result = ended(RESULT, omissions)
    assert result.tree
    assert [(one.name, one.kind) for one in result.tree.omissions] == [
        ("t/link", "left_out"),
        ("t/.*", "left_out"),
    ]


def test_a_symlink_that_was_asked_for_and_leads_out_has_failed() -> None:
    omissions = Omissions()
    omissions.add_not_sent(NotSent("t/link", Reason.SYMLINK), asked=True)
    with pytest.raises(PartialTransfer, match=r"t/link: the symlink leads out of the tree$"):
        ended(RESULT, omissions)


@pytest.mark.parametrize(
    ("reasons", "error", "words"),
    [
        ([Reason.DENIED], PartialTransfer, r"0: permission denied$"),
        ([Reason.DIFFERENT], DestinationExists, r"0 exists and is a different file$"),
        ([Reason.DIFFERENT] * 3, DestinationExists, "a different file, and 2 more$"),
        ([Reason.DIFFERENT, Reason.READ_ERROR], PartialTransfer, "input/output error$"),
    ],
)
def test_the_error_names_one_and_has_the_result(
    reasons: list[Reason], error: type[Exception], words: str
) -> None:
    omissions = Omissions()
    for number, reason in enumerate(reasons):
        omissions.add(str(number), reason)
    with pytest.raises(error, match=words) as caught:
        ended(RESULT, omissions, ["a note"])
    result = caught.value.result  # type: ignore[attr-defined]
    assert len(result.tree.omissions) == len(reasons)
    assert result.tree.notes == ("a note",)


def test_parameters_are_read_once() -> None:
    choice = choice_of(force=True, parameters={"links": True, "rules": ["- x"]})
    assert (choice.force, choice.links, choice.hidden) == (True, True, False)
    assert choice.rules[0].pattern == "x"
