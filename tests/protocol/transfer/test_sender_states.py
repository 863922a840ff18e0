"""States of a sender: which of them tell what the peer knows and has."""

from __future__ import annotations

import pytest

from udpft.protocol.transfer.sender_states import (
    HEARD_AND_READ,
    PEER_HOLDS_ALL,
    READ,
    SENDER_STATES,
    UNHEARD,
    SenderEvent,
    SenderState,
)


@pytest.mark.parametrize("state", list(SenderState)[:-1])
def test_the_groups_of_states_agree_with_the_events_that_lead_to_them(state: SenderState) -> None:
    assert (state in UNHEARD) == SENDER_STATES.has(state, SenderEvent.HEARD)
    assert (state not in READ) == SENDER_STATES.has(state, SenderEvent.ALL_READ)
    assert (state in HEARD_AND_READ) == SENDER_STATES.has(state, SenderEvent.UNCONFIRMED)
    if state in PEER_HOLDS_ALL:
        assert not SENDER_STATES.has(state, SenderEvent.PEER_HOLDS_ALL)
    assert SENDER_STATES.follow(state, SenderEvent.FAIL) is SenderState.ENDED
