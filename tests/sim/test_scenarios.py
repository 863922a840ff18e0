"""Three hundred small random scenarios, others each day. ``make sim`` plays large ones."""

from __future__ import annotations

from datetime import date

import pytest

from tests.sim.__main__ import play
from tests.sim.scenario import SMALL_FROM, Scenario

BATCHES, BATCH = 10, 30
TODAY = SMALL_FROM + 1_000 * date.today().toordinal()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_all_that_must_hold_holds_on_todays_networks(batch: int) -> None:
    first = TODAY + batch * BATCH
    failed = play(range(first, first + BATCH))
    assert not failed, f"make sim SEED={failed[0]}"


def test_a_seed_replays_exactly() -> None:
    once, again = (Scenario(TODAY).run() for _ in range(2))
    assert once.now == again.now
    assert (once.down.sent, once.up.sent) == (again.down.sent, again.up.sent)


def test_what_breaks_a_rule_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """The rules are no decoration: a client that has another file than the server's fails them."""
    scenario = Scenario(TODAY)
    while (
        not scenario.survivable or not scenario.fetches[0].content or scenario.fetches[0].is_upload
    ):
        scenario = Scenario(scenario.seed + 1)
    scenario.run()
    fetch = scenario.fetches[0]
    fetch.content = bytes(reversed(fetch.content)) + b"!"
    with pytest.raises(AssertionError, match="verified, and wrong"):
        scenario._judge(fetch)
    assert play([]) == []
    assert capsys.readouterr().out == ""
