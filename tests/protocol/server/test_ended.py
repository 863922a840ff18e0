"""HELLOs of transfers that are over: known for as long as they must be, in so much memory."""

from __future__ import annotations

from random import Random

import pytest

from udpft.protocol.server import ended as module
from udpft.protocol.server.ended import KEPT_S, EndedHellos


def test_one_is_remembered_as_long_as_its_cookie_is_good_and_then_forgotten() -> None:
    ended = EndedHellos()
    assert not ended.knows(("a", 1), 0.0)
    seconds = range(3 * int(KEPT_S))
    for second in seconds:
        ended.add(("a", second), float(second))
        for earlier in range(second + 1):
            assert ended.knows(("a", earlier), float(second)) == (earlier > second - KEPT_S)
    assert not ended.knows(("b", 1), 1.0)
    ended.forget(seconds[-1] + 2 * KEPT_S)
    assert not ended
    assert not ended.knows(("a", seconds[-1]), 0.0)


def test_after_a_long_silence_all_is_forgotten_at_once() -> None:
    ended = EndedHellos()
    ended.add("one", 0.0)
    ended.add("two", 10 * KEPT_S)
    assert not ended.knows("one", 0.0)
    assert ended.knows("two", 10 * KEPT_S)


def test_a_full_table_makes_way_and_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENDED_REMEMBERED", 8)
    monkeypatch.setattr(module, "_SLOTS", 16)
    ended, random = EndedHellos(), Random(1)
    keys = [random.random() for _ in range(100)]
    for key in keys:
        ended.add(key, 1.0)
        ended.add(key, 1.0)  # which counts once
        assert ended.knows(key, 1.0)
    assert all(ended.knows(key, 1.0) for key in keys[-8:])
    assert not any(ended.knows(key, 1.0) for key in keys[:84])
    assert ended._newer is not None
    assert len(ended._newer.digests) == 16
