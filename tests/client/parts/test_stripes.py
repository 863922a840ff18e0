"""Stripes: who takes which chunks, and who takes them over."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from udpft.client.parts.stripes import MIN_STRIPE_CHUNKS, STALLED_S, Stripe, StripePlan
from udpft.protocol.ranges import RangeSet

COUNT = 90_000


def plan_of(*held: tuple[int, int], servers: int = 3) -> StripePlan:
    return StripePlan(COUNT, RangeSet(held), servers)


def taken(plan: StripePlan, now: float = 0.0, rate: float = 0.0) -> Stripe:
    stripe = plan.take(now, rate)
    assert stripe
    return stripe


def test_at_first_all_have_as_much() -> None:
    plan = plan_of()
    stripes = [taken(plan) for _ in range(3)]
    assert [(one.start, one.stop) for one in stripes] == [
        (0, 30_000),
        (30_000, 60_000),
        (60_000, COUNT),
    ]
    assert plan.take(0.0) is None  # nothing has come yet: nobody knows who is slow


def test_what_is_held_is_in_no_stripe() -> None:
    plan = plan_of((10, 20_000), (50_000, 89_990))
    stripes = [taken(plan) for _ in range(3)]
    assert [(one.start, one.stop) for one in stripes] == [
        (0, 10),
        (20_000, 30_007),
        (30_007, 40_014),
    ]


def test_who_is_done_takes_the_end_of_what_would_be_done_last() -> None:
    plan = plan_of(servers=2)
    fast, slow = taken(plan), taken(plan)
    plan.note(fast, 0, 45_000, 1.0)
    plan.note(slow, 45_000, 54_000, 1.0)  # 9,000 a second, and 36,000 to come
    plan.end(fast)
    more = taken(plan, 1.0, 45_000.0)
    assert (more.start, more.stop) == (60_000, COUNT)  # five parts of six
    assert slow.stop == 60_000
    plan.note(more, 60_000, COUNT, 1.7)
    plan.note(slow, 54_000, 60_000, 1.7)
    assert plan.is_over(slow)
    assert plan.is_done


def test_what_stands_still_is_taken_whole() -> None:
    plan = plan_of(servers=2)
    dead, alive = taken(plan), taken(plan)
    plan.note(dead, 0, 1_000, 0.1)
    plan.note(alive, 45_000, COUNT, 0.2)
    plan.end(alive)
    assert not plan.is_over(dead)
    more = taken(plan, 0.3 + STALLED_S, 1e5)
    assert more.start == 1_000
    assert plan.is_over(dead)


def test_little_is_left_where_it_is() -> None:
    plan = plan_of((0, COUNT - 2 * MIN_STRIPE_CHUNKS), servers=1)
    last = taken(plan)
    plan.note(last, last.start, last.start + 10, 0.1)
    assert plan.take(0.1, 100.0) is None


def test_what_a_server_leaves_is_for_the_next() -> None:
    plan = plan_of(servers=1)
    stripe = taken(plan)
    plan.note(stripe, 0, 100, 0.1)
    plan.note(stripe, 200, COUNT, 0.1)
    plan.end(stripe)
    assert not plan.is_done
    rest = taken(plan)
    assert (rest.start, rest.stop) == (100, 200)


@given(st.integers(1, 5_000), st.integers(1, 5), st.integers(0, 1 << 32))
def test_whoever_comes_and_goes_every_chunk_is_taken(count: int, servers: int, seed: int) -> None:
    random = Random(seed)
    plan = StripePlan(count, RangeSet(), servers)
    stripes: list[Stripe] = []
    now = 0.0
    while not plan.is_done:
        now += random.random() * 0.3
        if len(stripes) < servers and (stripe := plan.take(now, random.random() * 1e4)):
            stripes.append(stripe)
        for stripe in list(stripes):
            first = plan.held.first_missing(stripe.start)
            if random.random() < 0.7 and first < stripe.stop:
                plan.note(stripe, first, min(stripe.stop, first + random.randrange(1, 900)), now)
            if plan.is_over(stripe) or random.random() < 0.05:
                plan.end(stripe)
                stripes.remove(stripe)
        starts = sorted((one.start, one.stop) for one in stripes)
        assert all(a[1] <= b[0] for a, b in pairwise(starts))
        assert now < 1e4
