"""Failures of one session in words for its client, and the boundary that keeps them there."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from tests.protocol.server.test_listener import HELLO, Served
from udpft.errors import LocalReadFailed, NoSuchFile, ServerBusy, UdpftError
from udpft.protocol.server.failure import EXHAUSTED, failure_of, is_exhaustion
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.error import ErrorCode, code_of, decode_error_untrusted
from udpft.protocol.wire.packet import PacketType
from udpft.testing.network import MemorySource

NO_THREAD = RuntimeError("can't start new thread")
EIO = OSError(errno.EIO, "Input/output error")


class Broken(MemorySource):
    """A source of which one call fails in a way that nobody expects."""

    def __init__(self, call: str, error: Exception) -> None:
        super().__init__(bytes(10_000))
        self.call, self.error = call, error

    def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
        if self.call == "readv":
            raise self.error
        return super().readv(slots, offset)

    def close(self) -> None:
        super().close()
        if self.call == "close":
            raise self.error


@pytest.mark.parametrize("code", EXHAUSTED)
def test_what_is_used_up_for_now_is_busy(code: int) -> None:
    assert isinstance(failure_of(OSError(code, "used up")), ServerBusy)


@pytest.mark.parametrize("error", [NO_THREAD, MemoryError()])
def test_no_task_and_no_memory_is_busy(error: Exception) -> None:
    assert is_exhaustion(error)
    assert isinstance(failure_of(error), ServerBusy)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("can't start new thread")])
def test_a_bug_is_no_exhaustion_whatever_it_says(error: Exception) -> None:
    assert not is_exhaustion(error)
    assert not isinstance(failure_of(error), ServerBusy)


def test_a_disk_that_fails_is_named_and_a_bug_is_not() -> None:
    disk = failure_of(EIO)
    assert isinstance(disk, LocalReadFailed)
    assert str(disk) == "the server's disk failed: Input/output error"
    bug = failure_of(KeyError("/secret/path"))
    assert "secret" not in str(bug)
    assert code_of(bug) == ErrorCode.CANCELLED
    known = NoSuchFile("none")
    assert failure_of(known) is known


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NO_THREAD, ErrorCode.BUSY),
        (EIO, ErrorCode.READ_FAILED),
        (ZeroDivisionError(), ErrorCode.CANCELLED),
    ],
)
def test_a_source_that_fails_in_its_own_way_ends_its_transfer_alone(
    error: Exception, code: ErrorCode
) -> None:
    net = Served()
    other = net.accept(HELLO._replace(nonce=100), address=("10.0.0.2", 5000))
    net.source = Broken("readv", error)
    refusals = [p for p in net.greet() if p.type is PacketType.ERROR]
    assert [decode_error_untrusted(p).code for p in refusals] == [code]
    assert net.failures == [error]
    outcome = net.listener.poll_outcome()
    assert outcome
    assert isinstance(outcome.error, UdpftError)
    assert len(net.listener) == 1
    net.cancel(other, address=("10.0.0.2", 5000))
    assert len(net.listener) == 0


def test_a_close_that_fails_changes_nothing_about_the_outcome() -> None:
    net = Served(source=Broken("close", EIO))
    net.cancel(net.accept())
    outcome = net.listener.poll_outcome()
    assert outcome
    assert outcome.error
    assert net.failures == [EIO]
    assert len(net.listener) == 0
    net.source = MemorySource(bytes(10_000))
    assert net.accept(HELLO._replace(nonce=50)).size == 10_000


def test_an_opening_that_fails_is_told_and_frees_its_place() -> None:
    net = Served(max_sessions=1)
    for nonce, error in enumerate((NO_THREAD, EIO, ValueError("a bug"))):
        net.error = error
        refusal = net.refusal(HELLO._replace(nonce=100 * nonce + 1))
        assert refusal.code == code_of(failure_of(error))
    assert len(net.failures) == 3
    net.error = None
    assert net.accept(HELLO._replace(nonce=1000)).size == 10_000


class _Fails:
    """An end that fails at one call, and passes all others on."""

    def __init__(self, end: object, call: str) -> None:
        self._end, self._call = end, call

    def __getattr__(self, name: str) -> object:
        if name == self._call:
            raise ZeroDivisionError(name)
        return getattr(self._end, name)


@pytest.mark.parametrize(
    "call", ["handle_datagrams", "handle_timeout", "poll_transmit", "poll_event", "next_timeout"]
)
def test_no_entry_into_a_session_lets_its_failure_out(call: str) -> None:
    net = Served()
    accept = net.accept()
    [session] = net.listener._sessions.values()
    session.end = _Fails(session.end, call)  # type: ignore[assignment]
    ack = Ack(0.0, 200_000, 1, 0, [(0, 1)])
    net.receive(encode_ack(ack, accept.connection_id, accept.nonce), now=0.01)
    packets = net.answers(0.01)
    at = net.listener.next_timeout()
    if at is not None:
        net.listener.handle_timeout(at)
        packets += net.answers(at)
    assert [p.type for p in packets if p.type is not PacketType.FIN] == [PacketType.ERROR]
    assert [type(error) for error in net.failures] == [ZeroDivisionError]
    assert len(net.listener) == 0
    assert net.listener.poll_outcome()
    net.receive(encode_ack(ack, accept.connection_id, accept.nonce), now=0.02)
    assert net.answers(0.02) == []


def test_a_session_that_cannot_be_ended_is_left_when_the_server_stops() -> None:
    net = Served()
    net.accept()
    net.accept(HELLO._replace(nonce=100))
    first = next(iter(net.listener._sessions.values()))
    first.end = _Fails(first.end, "abort")  # type: ignore[assignment]
    net.listener.abort_all(ServerBusy("the server is stopping"))
    assert {decode_error_untrusted(p).nonce for p in net.answers()} == {HELLO.nonce, 100}
    assert len(net.listener) == 0
