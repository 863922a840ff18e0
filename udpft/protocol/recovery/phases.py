"""Phases of the congestion controller: their pacing gains, and the table of their transitions.

They are BBR's (draft-ietf-ccwg-bbr, 5.1 and 5.6.1), and one more: EXPERIMENT, in which the cause
of loss is found out.
"""

from __future__ import annotations

from enum import Enum, auto

from udpft.protocol.states import TransitionTable


class Phase(Enum):
    """State of the congestion controller. ``pacing_gain``: the pace, in bandwidths."""

    STARTUP = "startup", 2.77
    """The window grows in each round trip. Gain: 4 ln 2, with which the rate can double in each
    (draft-ietf-ccwg-bbr, 5.3.1)."""

    DRAIN = "drain", 0.36
    """The queue that STARTUP has built drains in a round trip or so: the gain is 1 / 2.77."""

    CRUISE = "cruise", 1.0
    """Steady sending, at what the path carries (ProbeBW_CRUISE, 5.3.3)."""

    PROBE_UP = "probe up", 1.25
    """A search for more bandwidth (ProbeBW_UP, 5.3.3)."""

    PROBE_DOWN = "probe down", 0.75
    """The queue of PROBE_UP drains in as long as it took to build (ProbeBW_DOWN, 5.3.3)."""

    EXPERIMENT = "experiment", 0.5
    """Half the rate, to see whether loss in excess falls with it."""

    PROBE_RTT = "probe RTT", 1.0001
    """A small window, which leaves the queue empty (ProbeRTT, 5.3.4). The pace is CRUISE's, to a
    hair: it is the window that limits."""

    def __init__(self, _name: str, pacing_gain: float) -> None:
        # The name keeps apart two phases of one gain, which would be one member of the enum.
        self.pacing_gain = pacing_gain


class PhaseEvent(Enum):
    """Event that ends a phase, or one round trip of it."""

    ROUND_ENDED = auto()
    BANDWIDTH_PLATEAU = auto()
    LOSS_LEAPT = auto()
    LOSS_WAS_LATE = auto()
    QUEUE_DRAINED = auto()
    PROBE_DUE = auto()
    PROBE_ENDED = auto()
    LOSS_IN_EXCESS = auto()
    EXPERIMENT_ENDED = auto()
    MIN_RTT_EXPIRED = auto()
    MIN_RTT_MEASURED = auto()
    PERSISTENT_CONGESTION = auto()


PHASES = TransitionTable(
    [Phase.STARTUP],
    [
        (
            Phase.STARTUP,
            PhaseEvent.ROUND_ENDED,
            Phase.STARTUP,
            "a round trip is over: a new epoch begins, and the window still grows",
        ),
        (
            Phase.STARTUP,
            PhaseEvent.BANDWIDTH_PLATEAU,
            Phase.DRAIN,
            "the bandwidth has not grown by a quarter in three rounds: the path is full",
        ),
        (
            Phase.STARTUP,
            PhaseEvent.LOSS_LEAPT,
            Phase.DRAIN,
            "loss is a fifth above the baseline, and not by chance: the rate has outgrown the path",
        ),
        *(
            (
                phase,
                PhaseEvent.LOSS_WAS_LATE,
                Phase.STARTUP,
                "what had leapt up was no loss: the path reorders, and is not full",
            )
            for phase in (Phase.DRAIN, Phase.CRUISE)
        ),
        (
            Phase.DRAIN,
            PhaseEvent.QUEUE_DRAINED,
            Phase.CRUISE,
            "no more is in flight than the path holds: the queue is empty",
        ),
        (
            Phase.CRUISE,
            PhaseEvent.ROUND_ENDED,
            Phase.CRUISE,
            "a round trip is over, and nothing else is due: a new epoch begins",
        ),
        (
            Phase.CRUISE,
            PhaseEvent.PROBE_DUE,
            Phase.PROBE_UP,
            "the time between two probes is over",
        ),
        (
            Phase.CRUISE,
            PhaseEvent.LOSS_IN_EXCESS,
            Phase.EXPERIMENT,
            "loss exceeds the baseline: is it congestion?",
        ),
        (
            Phase.CRUISE,
            PhaseEvent.MIN_RTT_EXPIRED,
            Phase.PROBE_RTT,
            "the smallest round trip has not been seen for ten seconds",
        ),
        (
            Phase.PROBE_UP,
            PhaseEvent.PROBE_ENDED,
            Phase.PROBE_DOWN,
            "a round trip and four bursts are over; and loss is in excess, a queue stands, "
            "or three round trips are over",
        ),
        (
            Phase.PROBE_DOWN,
            PhaseEvent.PROBE_ENDED,
            Phase.CRUISE,
            "a round trip and four bursts are over: the probe's queue is empty",
        ),
        (
            Phase.EXPERIMENT,
            PhaseEvent.EXPERIMENT_ENDED,
            Phase.CRUISE,
            "packets enough are known of to tell the cause of the loss, or eight round trips over",
        ),
        (
            Phase.PROBE_RTT,
            PhaseEvent.MIN_RTT_MEASURED,
            Phase.CRUISE,
            "little has been in flight for 200 ms and a round trip",
        ),
        *(
            (
                phase,
                PhaseEvent.PERSISTENT_CONGESTION,
                Phase.STARTUP,
                "nothing has come back for so long that the path may be another one",
            )
            for phase in Phase
        ),
    ],
)
"""Transitions of the controller's phases. Each of them begins a new epoch."""
