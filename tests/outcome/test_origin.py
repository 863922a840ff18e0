"""Origin of a file, as a result tells it."""

from __future__ import annotations

from udpft.outcome.origin import Origin, ServerShare
from udpft.outcome.result import Result
from udpft.protocol.wire.accept import Part

WHOLE = Result("a", "a", 5, 1.0, "", 0, "reliable", verified=True)


def test_a_whole_file_is_of_one_server() -> None:
    assert WHOLE.part is None
    assert WHOLE.servers == ()


def test_a_range_and_shares_are_told() -> None:
    part, share = Part(3, 9, 7), ServerShare("lab:9000", 5)
    assert WHOLE._replace(origin=Origin(part=part)).part == part
    assert WHOLE._replace(origin=Origin(servers=(share,))).servers == (share,)
