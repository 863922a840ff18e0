"""The path's own loss: learnt from what was seen, bounded, and exceeded only by a margin."""

from __future__ import annotations

import pytest

from udpft.protocol.recovery.loss_baseline import MAX_BASELINE, LossBaseline


def learnt(lost: int, total: int) -> LossBaseline:
    baseline = LossBaseline()
    baseline.learn(1.0, lost, total)
    return baseline


def test_it_begins_with_none_and_learns_the_share_that_was_lost() -> None:
    assert LossBaseline().loss == 0.0
    assert learnt(10, 100).loss == pytest.approx(0.1)


def test_a_few_packets_teach_nothing() -> None:
    assert learnt(5, 20).loss == 0.0
    assert learnt(3, 21).loss == pytest.approx(1 / 7)


def test_it_is_bounded() -> None:
    assert learnt(90, 100).loss == MAX_BASELINE


def test_the_past_counts_for_less() -> None:
    baseline = learnt(20, 100)
    baseline.learn(0.5, 0, 100)
    assert baseline.loss == pytest.approx(10 / 150)


@pytest.mark.parametrize(
    ("acked", "lost", "exceeded"),
    [
        (95, 5, False),
        (90, 10, True),
        (8_900, 1_000, True),
        (9_800, 200, False),
        (0, 6, True),
        (98_200, 1_800, False),
        (97_000, 3_000, True),
    ],
)
def test_more_than_a_margin_and_chance_is_in_excess(acked: int, lost: int, exceeded: bool) -> None:
    assert LossBaseline().exceeded(acked, lost) is exceeded


def test_what_is_usual_is_not_in_excess() -> None:
    assert not learnt(10, 100).exceeded(900, 100)
    assert learnt(10, 100).exceeded(800, 200)
    assert not learnt(10, 100).exceeded(800, 200, margin=0.1)
