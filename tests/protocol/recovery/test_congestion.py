"""The controller: finds the path's rate, tells its loss from a full queue's, and never stops."""

from __future__ import annotations

from math import inf, isfinite
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.recovery.bottleneck import Path, settled
from udpft.protocol.params import INITIAL_WINDOW_PACKETS
from udpft.protocol.recovery.congestion import (
    MIN_RATE,
    MIN_WINDOW_PACKETS,
    CongestionController,
    Phase,
)
from udpft.protocol.recovery.delivery_rate import RateSample
from udpft.protocol.recovery.loss_baseline import MAX_BASELINE
from udpft.protocol.transfer.sender import PERSISTENT_CONGESTION_PTOS
from udpft.testing.network import Inbox, Shape, SimNet, SimulatedClient, random_bytes

# -------------------------------------------------------------------------- before any estimate


def test_it_begins_with_the_initial_window_and_no_pace() -> None:
    controller = CongestionController(Random(1))
    assert controller.phase is Phase.STARTUP
    assert controller.window == controller.burst_packets == INITIAL_WINDOW_PACKETS
    assert controller.pacing_rate == inf
    assert controller.baseline.loss == 0.0


# ------------------------------------------------------------------------------------ the model


@pytest.mark.parametrize("packets_per_s", [500.0, 10_000.0, 200_000.0])
@pytest.mark.parametrize("rtt_s", [0.001, 0.050, 0.5])
def test_it_finds_the_bandwidth_of_a_path(packets_per_s: float, rtt_s: float) -> None:
    controller = settled(Path(packets_per_s, rtt_s))
    assert controller.bandwidth == pytest.approx(packets_per_s, rel=0.3)
    # Never much more in flight than the path and a queue as long as the path hold.
    product = packets_per_s * rtt_s
    assert controller.window <= max(20, 3 * product + 4 * controller.burst_packets)
    assert controller.phase is not Phase.STARTUP


def test_startup_takes_a_few_round_trips_to_a_thousand_times_the_first_window() -> None:
    path = Path(packets_per_s=1e6, rtt_s=0.010)
    controller = CongestionController(Random(1))
    rounds = 0
    while controller.bandwidth < 500_000:
        path.round_trip(controller)
        rounds += 1
    assert rounds <= 14


@pytest.mark.parametrize("loss", [0.02, 0.1, 0.25])
def test_loss_that_slowing_down_does_not_cure_becomes_the_baseline(loss: float) -> None:
    controller = settled(Path(10_000.0, 0.020, loss=loss))
    assert controller.baseline.loss == pytest.approx(loss, abs=0.05)
    assert controller.bandwidth >= 0.7 * 10_000 * (1 - loss)


def test_a_path_without_loss_has_none_for_a_baseline() -> None:
    assert settled(Path(10_000.0, 0.020)).baseline.loss == 0.0


def test_it_probes_for_more_and_finds_it() -> None:
    path = Path(5_000.0, 0.020)
    controller = settled(path)
    path.packets_per_s = 20_000.0
    for _ in range(400):
        path.round_trip(controller)
    assert controller.bandwidth >= 15_000


def test_it_follows_a_path_that_becomes_slower() -> None:
    path = Path(20_000.0, 0.020)
    controller = settled(path)
    path.packets_per_s = 2_000.0
    for _ in range(300):
        path.round_trip(controller)
    assert controller.bandwidth <= 4_000


def test_a_round_trip_that_became_longer_is_measured_anew() -> None:
    path = Path(10_000.0, 0.020)
    controller = settled(path)
    assert controller.min_rtt_s == pytest.approx(0.020, rel=0.1)
    path.rtt_s = 0.040
    began, seen = path.now, set()
    while path.now < began + 15.0:
        path.round_trip(controller)
        seen.add(controller.phase)
    assert seen >= {Phase.CRUISE, Phase.PROBE_UP, Phase.PROBE_DOWN, Phase.PROBE_RTT}
    assert controller.min_rtt_s == pytest.approx(0.040, rel=0.1)


def test_a_dead_path_is_begun_again_slowly() -> None:
    controller = settled(Path(10_000.0, 0.020))
    epoch = controller.epoch
    controller.on_persistent_congestion()
    assert controller.phase is Phase.STARTUP
    assert controller.window == INITIAL_WINDOW_PACKETS
    assert controller.bandwidth == 0.0
    # What was sent before the silence is no news of the path.
    controller.on_tally({epoch: [5, 5]})
    assert controller.window == INITIAL_WINDOW_PACKETS
    assert PERSISTENT_CONGESTION_PTOS >= 2


def first_flight(controller: CongestionController, *, rtt_s: float, train_s: float) -> None:
    """Ten packets leave at once: the first is acknowledged after a round trip, the last later."""
    for delivered, at in ((1, rtt_s), (INITIAL_WINDOW_PACKETS, rtt_s + train_s)):
        controller.on_tally({0: [delivered, 0]})
        controller.on_ack(
            at,
            epoch=0,
            rtt_s=at,
            lateness_s=0.0,
            sample=RateSample(delivered / at, 0, delivered),
            in_flight=INITIAL_WINDOW_PACKETS - delivered,
        )


def test_a_first_flight_that_stays_together_lets_the_window_grow_many_times() -> None:
    controller = CongestionController(Random(1))
    first_flight(controller, rtt_s=0.100, train_s=0.001)
    assert 8 * INITIAL_WINDOW_PACKETS <= controller.window <= 16 * INITIAL_WINDOW_PACKETS


def test_a_first_flight_that_comes_apart_tells_what_the_path_carries() -> None:
    controller = CongestionController(Random(1))
    first_flight(controller, rtt_s=0.100, train_s=0.060)  # 150 packets a second
    assert controller.window <= 5 * INITIAL_WINDOW_PACKETS
    assert controller.pacing_rate <= 3 * INITIAL_WINDOW_PACKETS / 0.100


def test_a_first_flight_that_is_lost_ends_no_startup() -> None:
    controller = CongestionController(Random(1))
    controller.on_tally({0: [0, 8]})
    first_flight(controller, rtt_s=0.100, train_s=0.001)
    assert controller.phase is Phase.STARTUP
    assert controller.pacing_rate >= INITIAL_WINDOW_PACKETS / 0.100


def test_bursts_begin_short_and_grow_on_a_path_that_loses_nothing() -> None:
    path = Path(200_000.0, 0.000_5)
    controller = CongestionController(Random(1))
    path.round_trip(controller)
    assert controller.burst_packets <= INITIAL_WINDOW_PACKETS
    for _ in range(60):
        path.round_trip(controller)
    assert controller.burst_packets >= 100


# ------------------------------------------------------------------------- whatever it is told


@given(
    st.lists(
        st.tuples(
            st.floats(0.000_1, 2.0),  # seconds since the last one
            st.floats(0.000_1, 2.0),  # round trip
            st.floats(0.0, 1e6),  # delivery rate
            st.integers(0, 500),  # acked
            st.integers(0, 500),  # lost
            st.integers(0, 1_000),  # in flight
            st.booleans(),  # a dead path, now
        ),
        max_size=120,
    )
)
def test_it_never_stops_whatever_it_is_told(
    acks: list[tuple[float, float, float, int, int, int, bool]],
) -> None:
    controller, now, delivered = CongestionController(Random(1)), 0.0, 0
    for elapsed_s, rtt_s, delivery_rate, acked, lost, in_flight, dead in acks:
        now += elapsed_s
        before, delivered = delivered, delivered + acked
        if acked + lost:
            controller.on_tally({controller.epoch: [acked, lost]})
        controller.on_ack(
            now,
            epoch=controller.epoch,
            rtt_s=rtt_s,
            lateness_s=rtt_s / 2,
            sample=RateSample(delivery_rate, before, delivered),
            in_flight=in_flight,
        )
        if dead:
            controller.on_persistent_congestion()
        assert controller.window >= MIN_WINDOW_PACKETS
        assert controller.burst_packets >= 2
        assert controller.pacing_rate >= MIN_RATE
        assert 0.0 <= controller.baseline.loss <= MAX_BASELINE
        assert isfinite(controller.bandwidth_delay_product)
        assert controller.bandwidth <= max([0.0, *(ack[2] for ack in acks)])


# ---------------------------------------------------------------- on the simulated network


RATE = 5e6
FOUR_AT_ONCE = random_bytes(2**25)
CONTENT = random_bytes(5 * 2**20)


def share_of_the_path(down: Shape, *, seed: int = 1) -> float:
    """How much of a path's rate one transfer used, in virtual time."""
    net = SimNet({"file": CONTENT}, seed=seed, down=down)
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    possible = down.rate_bytes_per_s * (1 - down.loss)
    return len(CONTENT) / client.ended_at / possible


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.1])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_loss_does_not_make_it_slow(loss: float, seed: int) -> None:
    path = Shape(rate_bytes_per_s=RATE, queue_bytes=200_000, loss=loss)
    assert share_of_the_path(path, seed=seed) >= 0.7


def test_a_shallow_queue_does_not_make_it_slow_nor_wasteful() -> None:
    shallow = Shape(rate_bytes_per_s=RATE, queue_bytes=30_000)
    net = SimNet({"file": CONTENT}, seed=1, down=shallow)
    client = net.get("file")
    net.run()
    assert len(CONTENT) / client.ended_at >= 0.6 * RATE
    assert net.down.overflowed <= 0.15 * len(net.down.sent)


def test_a_deep_queue_is_not_filled() -> None:
    net = SimNet({"file": CONTENT}, seed=1, down=Shape(rate_bytes_per_s=RATE))
    client = net.get("file")
    net.run()
    assert client.content == CONTENT
    assert net.down.longest_wait_s <= 0.1


@pytest.mark.parametrize("queue_bytes", [20_000, 50_000, 200_000])
@pytest.mark.parametrize("times_slower", [2, 4, 10])
def test_a_path_that_becomes_much_slower_is_not_flooded(
    times_slower: int, queue_bytes: int
) -> None:
    # As when a radio link degrades, or others come to share it: RFC 8085, 3.1.
    net = SimNet(
        {"file": CONTENT}, seed=1, down=Shape(rate_bytes_per_s=RATE, queue_bytes=queue_bytes)
    )
    client = net.get("file")
    net.run_to(0.4)
    net.down.shape = Shape(rate_bytes_per_s=RATE / times_slower, queue_bytes=queue_bytes)
    net.run_to(1.4)
    sent, overflowed = len(net.down.sent), net.down.overflowed
    net.run()
    assert client.content == CONTENT
    share_lost = (net.down.overflowed - overflowed) / max(1, len(net.down.sent) - sent)
    assert share_lost <= 0.15, "a second later it still sends far more than the path carries"


@pytest.mark.parametrize("seed", [1, 2])
def test_newcomers_get_their_share(seed: int) -> None:
    net = SimNet(
        {"file": CONTENT, "small": CONTENT[: 2**19]},
        seed=seed,
        down=Shape(rate_bytes_per_s=RATE, queue_bytes=50_000),
    )
    first = net.get("file")
    net.run_to(0.4)
    newcomers = [net.get("small") for _ in range(5)]
    net.run()
    assert all(client.content == CONTENT[: 2**19] for client in newcomers)
    assert first.content == CONTENT
    # 5 times half a MiB at 5 MB/s is half a second for them alone.
    assert max(client.ended_at for client in newcomers) <= 4.0
    assert net.down.overflowed <= 0.25 * len(net.down.sent)


@pytest.mark.parametrize("seed", [1, 2])
def test_two_transfers_share_a_path(seed: int) -> None:
    path = Shape(rate_bytes_per_s=RATE, queue_bytes=100_000)
    net = SimNet({"file": CONTENT[: 3 * 2**20]}, seed=seed, down=path)
    clients = [net.get("file") for _ in range(2)]
    net.run()
    ends = sorted(client.ended_at for client in clients)
    assert ends[1] <= 2 * ends[0]
    assert 2 * len(clients[0].content) / ends[1] >= 0.6 * RATE


@pytest.mark.no_cover  # long, and other tests reach all that it does
@pytest.mark.parametrize(
    ("delay_s", "queue_bytes", "least_jain", "most_lost"),
    [(0.020, 500_000, 0.9, 0.05), (0.020, 250_000, 0.9, 0.05), (0.000_5, 18_000, 0.5, 0.4)],
)
def test_four_transfers_have_equal_shares(
    delay_s: float, queue_bytes: int, least_jain: float, most_lost: float
) -> None:
    path = Shape(
        delay_s=delay_s, rate_bytes_per_s=12.5e6, queue_bytes=queue_bytes, mtu_payload=1_472
    )
    fairness = []
    for seed in range(1, 7):
        net = SimNet({"file": FOUR_AT_ONCE}, seed=seed, down=path, up=path)
        clients = [net.get("file", inbox=Inbox(4e6)) for _ in range(4)]
        net.run_to(2.0)
        before = [bytes_received(client) for client in clients]
        sent, overflowed = len(net.down.sent), net.down.overflowed
        net.run_to(4.0)
        shares = [bytes_received(client) - n for client, n in zip(clients, before, strict=True)]
        fairness.append(sum(shares) ** 2 / len(shares) / sum(share**2 for share in shares))
        assert sum(shares) >= 0.85 * 2.0 * path.rate_bytes_per_s
        assert net.down.overflowed - overflowed <= most_lost * (len(net.down.sent) - sent)
    # Jain's index, of all four beginning at the same moment: whose packets are first has luck.
    assert fmean(fairness) >= least_jain


def bytes_received(client: SimulatedClient) -> int:
    assert client.download.receiver is not None
    return client.download.receiver.bytes_received
