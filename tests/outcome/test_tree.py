"""Words for what does not come of a tree."""

from __future__ import annotations

import pytest

from udpft.outcome.tree import count_left_out, omission
from udpft.protocol.wire.listing import Reason


def test_left_out_entries_are_counted_by_kind() -> None:
    found = [omission("a", Reason.SYMLINK), omission("b", Reason.SYMLINK)]
    found += [omission("t/.*", Reason.HIDDEN, number=3), omission("f", Reason.FIFO)]
    found += [omission("x", Reason.DENIED), omission("u/.*", Reason.HIDDEN)]
    assert count_left_out(found) == "2 symlinks, 4 hidden names, 1 FIFO"
    assert count_left_out([omission("x", Reason.DENIED)]) == ""


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words_and_a_kind(reason: Reason) -> None:
    one = omission("name", reason)
    assert one.reason
    kind = "left_out" if reason <= Reason.HIDDEN else "failed"
    assert one.kind == ("different" if reason is Reason.DIFFERENT else kind)
