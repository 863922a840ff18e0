"""Room of a disk that is slower than the network: what its client hears of it, and what comes."""

from __future__ import annotations

from collections.abc import Iterator

from udpft.protocol.contract import Batch, Completed, NotReady, OpenedSink
from udpft.protocol.handshake.agreement import HandshakeResult
from udpft.protocol.server.upload import DiskRoom, Held
from udpft.protocol.transfer.work_budget import WorkBudget
from udpft.protocol.wire.hello import Hello
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import MemoryPlace, SimNet, random_bytes

CONTENT = random_bytes(2_000_000)


def batch(kind: PacketType, segments: int) -> Batch:
    return Batch(bytearray([kind]) + bytearray(99 + 100 * (segments - 1)), 100 * segments, 100)


def test_the_smaller_room_is_told_and_what_it_does_not_hold_is_counted_as_dropped() -> None:
    room = DiskRoom(lambda: (1_000, 5))
    assert room.receive_queue() == (1_000, 5)
    assert room.takes(batch(PacketType.DATA, 50))
    left = 300
    room.of_disk = lambda: left
    assert room.receive_queue() == (300, 5)
    assert room.takes(batch(PacketType.DATA, 3))
    assert not room.takes(batch(PacketType.DATA, 4))
    assert room.takes(batch(PacketType.FIN, 50))  # whatever else comes is heard
    assert room.receive_queue() == (300, 9)


class SlowPlace(MemoryPlace):
    """A place whose disk takes a part of what comes, each time that it is asked for its room."""

    waiting = most = 0

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        opened = super().open_sink(handshake)
        return opened._replace(sink=self, room=self._room)

    def writev(self, slots: list[memoryview], offset: int) -> None:
        self.waiting += sum(map(len, slots))
        self.most = max(self.most, self.waiting)
        self._sink.writev(slots, offset)

    def _room(self) -> int:
        self.waiting = max(0, self.waiting - 2_000)
        return 100_000 - self.waiting


def test_an_upload_to_a_disk_that_is_slower_than_the_network_arrives() -> None:
    places = []

    def open_place(hello: Hello, name: str, _: object) -> SlowPlace:
        places.append(SlowPlace(net, hello, name, 0))
        return places[-1]

    net = SimNet({}, seed=1, open_place=open_place)
    client = net.put("file", CONTENT)
    net.run()
    assert isinstance(client.outcome, Completed)
    assert net.stored["file"] == CONTENT
    assert 50_000 < places[0].most <= 100_000


def test_what_is_held_is_waited_for_while_its_disk_brings_it() -> None:
    ready = False

    class Runs(Iterator[tuple[int, bytes]]):
        def __next__(self) -> tuple[int, bytes]:
            if not ready:
                raise NotReady
            raise StopIteration

    held = Held(Runs(), WorkBudget().share_of(None), 10.0)
    try:
        list(held.next_runs(1.0))
        raise AssertionError("it was not waited for")
    except NotReady:
        ready = True
    held = Held(held._runs, WorkBudget().share_of(None), 10.0)
    assert list(held.next_runs(2.0)) == [None]
