"""The plan of a run: which peers run which scenario, how often, and about how long that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.peers import Peer
from bench.result import Run, Scenario

_SLOW_BYTES_PER_S = 1e8
_SHORT_WARM_UP_BYTES = 1 << 18
"""Where the path or the program takes its time, memory is not what is slow at first."""

_FEWEST_ROUNDS = 5
"""The interval of a median of five holds the true one in 94 of 100 cases; of three, in 75."""

SLOW_ROUNDS = 3
"""Of a program that one run keeps longer than the time that is there for all of its rounds."""

_BETWEEN_S = 0.06
"""What a run takes that is in no clock: asking, the digest of a small file."""

_DIGEST_BYTES_PER_S = 1.5e9
_LEAST_TCP_TIMEOUT_S = 0.2
_START_TRIPS = 8
"""Round trips of handshake and slow start, about."""

Plan = Sequence[tuple[Scenario, Sequence[Peer]]]


def takers(peers: Sequence[Peer], scenario: Scenario) -> list[Peer]:
    """The peers that take part in a scenario."""
    wanted = [peer for peer in peers if not scenario.modes or peer.label in scenario.modes]
    return [peer for peer in wanted if not peer.unfit_for(scenario)]


def warm_ups_of(run: Run, peer: Peer) -> int:
    """The rounds before, that do not count: none for a ceiling, which warms nothing."""
    return 0 if peer.kind == "ceiling" else run.warm_ups


def rounds_of(run: Run, scenario: Scenario, peer: Peer) -> int:
    """The rounds that count which a peer takes part in: as many as fit in the time for it.

    The fast take part in all of them: a short run is a noisy one, and costs little to repeat. A
    program that takes ten seconds is told from the others by three of them.
    """
    fitting = int(run.seconds_each / expected_s(scenario, peer))
    fewest = _FEWEST_ROUNDS if fitting and peer.kind != "ceiling" else SLOW_ROUNDS
    return min(run.rounds, max(fewest, fitting))


def takes_part(run: Run, scenario: Scenario, peer: Peer, number: int) -> bool:
    """Whether a peer has a turn in a round, warm-ups counted first."""
    if number < run.warm_ups:
        return number < warm_ups_of(run, peer)
    return number - run.warm_ups < rounds_of(run, scenario, peer)


def planned_s(plan: Plan, run: Run) -> float:
    """About how long all runs of a plan take."""
    return sum(
        warm_ups_of(run, peer) * expected_s(scenario, peer, warm_up=True)
        + rounds_of(run, scenario, peer) * expected_s(scenario, peer)
        for scenario, peers in plan
        for peer in peers
    )


def size_of(scenario: Scenario, peer: Peer, *, warm_up: bool) -> int:
    """Bytes that each client fetches: less in a warm-up that has no memory to warm."""
    if warm_up and (scenario.is_shaped or peer.usual_rate < _SLOW_BYTES_PER_S):
        return min(scenario.size_bytes, _SHORT_WARM_UP_BYTES)
    return scenario.size_bytes


def expected_s(scenario: Scenario, peer: Peer, *, warm_up: bool = False) -> float:
    """About how long one run takes: for the rounds and the time left, not for any result."""
    if peer.kind == "ceiling":
        return 1.3
    total_bytes = size_of(scenario, peer, warm_up=warm_up) * scenario.clients
    took_s = peer.usual_start_s * max(1.0, scenario.clients / 2) + total_bytes / peer.usual_rate
    if scenario.is_shaped:
        rate = scenario.rate_bit_per_s / 8 or math.inf
        if peer.fears_loss and scenario.loss and scenario.rtt_s:
            rate = min(rate, _fearful_bytes_per_s(scenario))
        took_s += 1.2 * total_bytes / rate + _START_TRIPS * scenario.rtt_s
    return _BETWEEN_S + took_s + total_bytes / _DIGEST_BYTES_PER_S


def _fearful_bytes_per_s(scenario: Scenario) -> float:
    """The rate of a window that halves at each loss, and now and then waits for a time-out.

    Padhye et al. 1998, equation 30, with an acknowledgement for each packet.
    """
    p = scenario.loss
    halved_s = scenario.rtt_s * math.sqrt(2 * p / 3)
    waited_s = _LEAST_TCP_TIMEOUT_S * min(1.0, 3 * math.sqrt(3 * p / 8)) * p * (1 + 32 * p * p)
    return scenario.mtu / (halved_s + waited_s)


def timeout_s(scenario: Scenario, peer: Peer) -> float:
    """After how long a run has failed."""
    return 15.0 + 8 * expected_s(scenario, peer)
