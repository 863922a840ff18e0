"""Stories of files that clients hold already, and that a server hashes for them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from udpft.errors import TimedOut
from udpft.protocol.contract import Completed, Failed, OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.transfer.sender_timers import HASHING_PATIENCE_S
from udpft.protocol.transfer.work_budget import BURSTS_A_TURN
from udpft.testing.network import (
    MemorySink,
    MemorySource,
    SimNet,
    SimulatedClient,
    present_in,
    random_bytes,
)

HELD = random_bytes(24 << 20)


class Counted(MemorySource):
    """Counts the bytes that are read, each burst of which takes its time."""

    def __init__(self, net: SimNet, seconds: float, log: list[Counted]) -> None:
        super().__init__(HELD)
        self.net, self.seconds, self.log = net, seconds, log
        self.read = 0

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        got = super().readv(slots, offset)
        self.read += got
        self.net.now += self.seconds
        self.log.append(self)
        return got


def who_has_it_all(
    net: SimNet, seconds: float, log: list[Counted] | None = None
) -> tuple[SimulatedClient, Counted]:
    def open_sink(handshake: HandshakeResult) -> OpenedSink:
        sink = MemorySink(len(HELD))
        sink.content[:] = HELD
        return OpenedSink(sink, present_in(HELD, handshake))

    source = Counted(net, seconds, [] if log is None else log)
    net.sources["file"] = source
    client = net.get("file", have=((0, len(HELD)),), open_sink=open_sink)
    net.run_while(lambda: source.read == 0)
    return client, source


@pytest.fixture
def one_burst_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn of the loop does not take up all of a client's patience."""
    monkeypatch.setattr("udpft.protocol.transfer.work_budget.BURSTS_A_TURN", 1)


@pytest.mark.usefixtures("one_burst_a_turn")
def test_it_is_hashed_only_as_long_as_the_client_is_there() -> None:
    net = SimNet({"file": HELD})
    client, source = who_has_it_all(net, 0.3)
    client.outcome = Failed(TimedOut("it has left"))
    net.run_while(lambda: not net.ended)
    assert source.read < len(HELD) / 2
    assert isinstance(net.ended[0].error, TimedOut)


@pytest.mark.usefixtures("one_burst_a_turn")
def test_who_stays_gets_all_of_it_hashed_however_long_it_takes() -> None:
    net = SimNet({"file": HELD})
    client, _ = who_has_it_all(net, 0.35)
    net.run(until=1000)
    assert isinstance(client.outcome, Completed)
    assert net.now > 4 * HASHING_PATIENCE_S


def test_many_clients_take_turns_at_it() -> None:
    net, log = SimNet({"file": HELD}), list[Counted]()
    for _ in range(4):
        who_has_it_all(net, 0.0001, log)
    net.run()
    assert all(isinstance(one.outcome, Completed) for one in net.clients.values())
    turns = [log[at] for at in range(0, len(log), BURSTS_A_TURN)]
    assert len(set(turns[:10])) > 2, "the first one was hashed to its end first"
