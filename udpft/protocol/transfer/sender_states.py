"""States of a sender, and what leads from one to the next."""

from __future__ import annotations

from enum import Enum, auto

from udpft.protocol.states import TransitionTable


class SenderState(Enum):
    """State of a sender."""

    UNHEARD = auto()
    UNHEARD_READ = auto()
    SENDING = auto()
    READING = auto()
    FINISHING = auto()
    CLOSING = auto()
    ENDED = auto()


class SenderEvent(Enum):
    """Event in the life of a sender."""

    HEARD = auto()
    ALL_READ = auto()
    PEER_HOLDS_ALL = auto()
    FIN_ACK = auto()
    UNCONFIRMED = auto()
    FAIL = auto()


_S, _E = SenderState, SenderEvent

SENDER_STATES = TransitionTable(
    [_S.UNHEARD, _S.SENDING],
    [
        (_S.UNHEARD, _E.HEARD, _S.SENDING, "an ACK, or a question: the peer knows of it"),
        (_S.UNHEARD, _E.ALL_READ, _S.UNHEARD_READ, "every chunk has left once, to nobody known"),
        (_S.UNHEARD, _E.FAIL, _S.ENDED, "an error at either end, or silence"),
        (_S.UNHEARD_READ, _E.HEARD, _S.FINISHING, "an ACK, or a question: the peer knows of it"),
        (_S.UNHEARD_READ, _E.FIN_ACK, _S.ENDED, "the peer has the file: its ACKs were lost"),
        (_S.UNHEARD_READ, _E.FAIL, _S.ENDED, "an error at either end, or silence"),
        (_S.SENDING, _E.ALL_READ, _S.FINISHING, "every chunk was read once: FIN"),
        (_S.SENDING, _E.PEER_HOLDS_ALL, _S.READING, "the peer had the rest before it was read"),
        (_S.SENDING, _E.FAIL, _S.ENDED, "an error at either end, or silence"),
        (_S.READING, _E.ALL_READ, _S.CLOSING, "the rest was read for the digest: FIN"),
        (_S.READING, _E.FAIL, _S.ENDED, "an error at either end, or silence"),
        (_S.FINISHING, _E.PEER_HOLDS_ALL, _S.CLOSING, "nothing is missing any more: FIN again"),
        (_S.FINISHING, _E.FIN_ACK, _S.ENDED, "the peer has the file"),
        (_S.FINISHING, _E.UNCONFIRMED, _S.ENDED, "sent everything, and the peer fell silent"),
        (_S.FINISHING, _E.FAIL, _S.ENDED, "an error at either end, or silence"),
        (_S.CLOSING, _E.FIN_ACK, _S.ENDED, "the peer has the file"),
        (_S.CLOSING, _E.UNCONFIRMED, _S.ENDED, "sent everything, and the peer fell silent"),
        (_S.CLOSING, _E.FAIL, _S.ENDED, "an error at the peer, which could not keep the file"),
    ],
)
"""Transitions of a sender. It begins in UNHEARD with a prelude, in SENDING without."""

UNHEARD = (SenderState.UNHEARD, SenderState.UNHEARD_READ)
PEER_HOLDS_ALL = (SenderState.READING, SenderState.CLOSING)
NOT_HELD_ALL = (SenderState.SENDING, SenderState.FINISHING)
HEARD_AND_READ = (SenderState.FINISHING, SenderState.CLOSING)
READ = (SenderState.UNHEARD_READ, *HEARD_AND_READ)
