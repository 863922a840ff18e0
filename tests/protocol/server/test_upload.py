"""The server's end of an upload: places that refuse, that fail late, and words that are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, repeat

import pytest

from udpft.errors import (
    DigestMismatch,
    LocalReadFailed,
    LocalWriteFailed,
    PartialTransfer,
    ServerBusy,
    TimedOut,
    UdpftError,
)
from udpft.protocol.contract import Batch, Completed, Failed, OpenedSink
from udpft.protocol.handshake.initiator import HandshakeResult
from udpft.protocol.params import (
    CHUNK_SIZE,
    INITIAL_RECEIVE_ROOM,
    MIN_DATAGRAM_SIZE,
    QUIET_S,
)
from udpft.protocol.server.upload import Held, ServerUpload, ServerUploadState
from udpft.protocol.transfer.work_budget import WorkBudget
from udpft.protocol.wire.accept import decode_accept_untrusted
from udpft.protocol.wire.hello import Hello, encode_hello
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import MemoryPlace, MemorySink, Shape, SimNet, random_bytes

CONTENT = random_bytes(300_000)
SLOW = Shape(rate_bytes_per_s=200_000)


class FailingPlace(MemoryPlace):
    """A place that refuses at one of its steps; what it tells has no names in it."""

    opens: BaseException | None = None
    reads: UdpftError | None = None
    commits_to: UdpftError | None = None

    def open_sink(self, handshake: HandshakeResult) -> OpenedSink:
        if self.opens:
            raise self.opens
        opened = super().open_sink(handshake)
        return opened._replace(present=self._present()) if self.reads else opened

    def _present(self) -> Iterator[tuple[int, bytes]]:
        yield from ()
        assert self.reads
        raise self.reads

    def commit(self) -> bool:
        if self.commits_to:
            raise self.commits_to
        return super().commit()

    def told(self, error: UdpftError) -> UdpftError:
        return type(error)("the server's disk refuses") if isinstance(error, OSError) else error


def net_with(change: Callable[[FailingPlace], None], **shapes: Shape) -> SimNet:
    """A network whose server has such places."""

    def open_place(hello: Hello, name: str, _: object) -> FailingPlace:
        place = FailingPlace(net, hello, name, 0)
        change(place)
        return place

    net = SimNet({}, seed=1, open_place=open_place, **shapes)
    return net


def test_a_place_that_refuses_is_told_of_before_anything_is_sent() -> None:
    refusal = LocalWriteFailed("disk full")
    net = net_with(lambda place: setattr(place, "opens", refusal))
    client = net.put("file", CONTENT)
    net.run()
    assert isinstance(client.error, PartialTransfer)  # the fault is not this machine's
    assert str(client.error) == "disk full"
    assert net.closed == [("file", refusal, 0)]
    assert net.up.packets(PacketType.DATA) == []
    assert len(net.listener) == 0


def test_a_bug_in_a_place_closes_it_and_is_not_hidden() -> None:
    bug = ZeroDivisionError()
    net = net_with(lambda place: setattr(place, "opens", bug))
    net.put("file", CONTENT)
    with pytest.raises(ZeroDivisionError):
        net.run()
    assert net.closed == [("file", bug, 0)]


@pytest.mark.parametrize("error", [LocalWriteFailed("disk full"), DigestMismatch("not that file")])
def test_a_place_that_refuses_at_the_end_stores_nothing(error: UdpftError) -> None:
    net = net_with(lambda place: setattr(place, "commits_to", error))
    client = net.put("file", CONTENT)
    net.run()
    assert str(client.error) == str(error)
    net.run_until_quiet()
    assert net.stored == {}
    [(name, closed_with, received_bytes)] = net.closed
    assert (name, closed_with, received_bytes) == ("file", error, len(CONTENT))
    assert [ended.error for ended in net.ended] == [error]


def test_a_client_is_heard_once_something_comes_for_the_transfer() -> None:
    net = net_with(lambda _: None, up=SLOW)
    net.put("file", CONTENT)
    net.run_while(lambda: not net.listener._sessions)
    [session] = net.listener._sessions.values()
    upload = session.end
    assert isinstance(upload, ServerUpload)
    upload.handle_datagrams(Batch.of(bytearray(b"noise")), net.now)
    assert not upload.heard
    net.run_while(lambda: not upload.bytes_received)
    assert upload.heard


def test_accept_tells_the_room_that_the_servers_socket_has() -> None:
    net = SimNet({}, seed=1)
    net.put("file", CONTENT)
    net.run()
    accept = net.down.packets(PacketType.ACCEPT)[0]
    room = decode_accept_untrusted(decode_untrusted(memoryview(accept))).receive_room
    assert room == INITIAL_RECEIVE_ROOM


def test_a_place_that_takes_its_time_is_asked_again_ever_more_seldom() -> None:
    asked: list[float] = []

    class SlowPlace(FailingPlace):
        def commit(self) -> bool:
            asked.append(net.now)
            return net.now > asked[0] + 2 and super().commit()

    net = SimNet({}, seed=1, open_place=lambda hello, name, _: SlowPlace(net, hello, name, 0))
    net.put("file", CONTENT)
    net.run()
    assert net.stored == {"file": CONTENT}
    pauses = [round(after - before, 6) for before, after in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(0.002)
    assert pauses[-1] == pytest.approx(0.050)
    assert len(asked) < 80


def test_only_a_client_that_is_silent_while_it_should_send_gives_way() -> None:
    net = net_with(lambda _: None, up=SLOW)
    net.put("file", CONTENT)
    net.run_to(0.5)
    [session] = net.listener._sessions.values()
    upload = session.end
    assert isinstance(upload, ServerUpload)
    assert not upload.is_abandoned(net.now)
    assert not upload.is_abandoned(upload._receiver.heard_at + QUIET_S - 0.001)
    assert upload.is_abandoned(upload._receiver.heard_at + QUIET_S)
    for state in (ServerUploadState.COMMITTING, ServerUploadState.CONFIRMED):  # all has come
        upload._state = state
        assert not upload.is_abandoned(net.now + 60)


def test_what_is_here_and_cannot_be_read_ends_it() -> None:
    error = LocalReadFailed("Input/output error")
    net = net_with(lambda place: setattr(place, "reads", error))
    client = net.put("file", CONTENT)
    net.run()
    assert isinstance(client.error, PartialTransfer)
    net.run_until_quiet()
    assert [closed for _, closed, _ in net.closed] == [error]
    assert net.stored == {}


def test_an_accept_that_is_lost_is_said_again() -> None:
    heard = SimNet({}, seed=1)
    heard.put("file", CONTENT)
    heard.run()
    place = heard.down.sent.index(heard.down.packets(PacketType.ACCEPT)[0])
    net = SimNet({}, seed=1, down=Shape(lose={place}))
    client = net.put("file", CONTENT)
    net.run()
    assert isinstance(client.outcome, Completed)
    assert net.down.lost == 1
    assert net.stored == {"file": CONTENT}
    accepts = net.down.packets(PacketType.ACCEPT)
    assert len(accepts) == 2
    assert accepts[0] == accepts[1]  # the same transfer, not another one
    assert [ended.name for ended in net.ended] == ["file"]


def test_the_last_words_are_said_again_for_each_fin() -> None:
    net = SimNet({}, seed=1)
    client = net.put("file", CONTENT)
    net.run()
    farewells = net.down.packets(PacketType.FIN_ACK)
    assert len(set(farewells)) == 1
    fin = net.up.packets(PacketType.FIN)[-1]
    net.inject(fin, net.up, client.address, "server")
    net.inject(fin, net.up, "a stranger's address", "server")
    net.inject(fin[:4] + bytes(4) + fin[8:], net.up, client.address, "server")  # of no transfer
    net.run_until_quiet()
    assert net.down.packets(PacketType.FIN_ACK) == [*farewells, farewells[0]]
    assert len(net.closed) == 1


def test_a_server_that_stops_tells_those_who_bring_files() -> None:
    net = SimNet({}, seed=1, up=SLOW)
    client = net.put("file", CONTENT)
    net.run_to(0.5)
    error = ServerBusy("the server is stopping")
    net.listener.draining = True
    net.listener.abort_all(error)
    net.run()
    assert isinstance(client.error, PartialTransfer)
    assert str(client.error) == "the server is stopping"
    net.run_until_quiet()
    [(name, closed_with, received_bytes)] = net.closed
    assert (name, closed_with) == ("file", error)
    assert 0 < received_bytes < len(CONTENT)


def test_what_is_held_is_hashed_a_little_at_a_time_and_not_sent() -> None:
    net = SimNet({}, seed=1)
    held = 100 * CHUNK_SIZE
    sink = MemorySink(len(CONTENT))
    sink.content[:held], sink.written = CONTENT[:held], held
    net.left["file"] = sink
    net.put("file", CONTENT)
    net.run()
    net.run_until_quiet()
    assert net.stored == {"file": CONTENT}
    assert [ended.traffic.bytes_received for ended in net.ended] == [len(CONTENT) - held]


def test_what_is_held_is_hashed_only_for_a_client_that_says_or_asks_something() -> None:
    net = net_with(lambda _: None, up=SLOW)
    net.put("file", CONTENT)
    net.run_to(0.5)
    [session] = net.listener._sessions.values()
    upload = session.end
    assert isinstance(upload, ServerUpload)
    upload._held = Held(repeat((0, b"")), WorkBudget().share_of(None), patience_ends_at=1.0)
    patience_s = session.terms.idle_timeout_s
    question = encode_hello(session.terms.hello, MIN_DATAGRAM_SIZE, session.connection_id)
    upload.handle_datagrams(Batch.of(question), 0.9)
    for moment in (0.9, 1.1, 0.8 + patience_s):
        while upload.poll_transmit(moment):
            pass
        assert upload.poll_event() is None
    upload.poll_transmit(0.9 + patience_s)
    event = upload.poll_event()
    assert isinstance(event, Failed)
    assert isinstance(event.error, TimedOut)


def test_an_upload_that_is_all_held_is_compared_and_nothing_is_sent() -> None:
    net = SimNet({}, seed=1)
    sink = MemorySink(len(CONTENT))
    sink.content[:], sink.written = CONTENT, len(CONTENT)
    net.left["file"] = sink
    client = net.put("file", CONTENT)
    net.run()
    assert isinstance(client.outcome, Completed)
    assert net.stored == {"file": CONTENT}
    assert net.up.sent_bytes < 10_000


def test_an_upload_that_only_seems_all_held_stores_nothing() -> None:
    net = SimNet({}, seed=1)
    sink = MemorySink(len(CONTENT))
    sink.content[:], sink.written = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), len(CONTENT)
    net.left["file"] = sink
    client = net.put("file", CONTENT)
    net.run()
    assert isinstance(client.error, DigestMismatch)
    assert net.stored == {}
