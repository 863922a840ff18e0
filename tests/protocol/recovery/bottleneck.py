"""A bottleneck with a queue, one round trip at a time, for a controller without a sender."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from udpft.protocol.recovery.congestion import CongestionController
from udpft.protocol.recovery.delivery_rate import RateSample


@dataclass
class Path:
    """A bottleneck with a queue that loses nothing of its own but a share at random.

    One round trip at a time: the controller's window, at its pace, is sent and acknowledged in
    a few acknowledgements.
    """

    packets_per_s: float
    rtt_s: float
    loss: float = 0.0
    now: float = 0.0
    delivered: int = 0
    random: Random = field(default_factory=lambda: Random(3))

    def round_trip(self, controller: CongestionController) -> None:
        for _ in self.acknowledgements(controller):
            pass

    def acknowledgements(self, controller: CongestionController) -> Iterator[None]:
        """Play one round trip, acknowledgement by acknowledgement."""
        epoch, prior_delivered = controller.epoch, self.delivered
        paced = controller.pacing_rate * self.rtt_s
        n_sent = max(1, int(min(controller.window, paced)))
        n_acked = n_sent
        if self.loss:
            n_acked = sum(self.random.random() >= self.loss for _ in range(n_sent))
        # What is sent faster than the bottleneck waits there.
        round_s = max(self.rtt_s, n_sent / self.packets_per_s)
        for share in range(1, 5):
            self.now += round_s / 4
            acked = n_acked * share // 4 - n_acked * (share - 1) // 4
            self.delivered += acked
            lost = n_sent - n_acked if share == 4 else 0
            controller.on_tally({epoch: [acked, lost]})
            controller.on_ack(
                self.now,
                epoch=epoch,
                rtt_s=round_s,
                lateness_s=0.0,
                sample=RateSample(n_acked / round_s, prior_delivered, self.delivered),
                in_flight=n_sent - n_acked * share // 4,
            )
            yield


def settled(path: Path, *, rounds: int = 200) -> CongestionController:
    controller = CongestionController(Random(1))
    for _ in range(rounds):
        path.round_trip(controller)
    return controller
