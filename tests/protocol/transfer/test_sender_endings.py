"""Ends of a sender: a silent peer, the end of the file, and every error."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.transfer.sending import (
    CHUNK,
    CONTENT,
    IDLE_S,
    NONCE,
    OURS,
    RTT_S,
    THEIRS,
    Sending,
    digest_of,
    to_the_end,
    type_of,
)
from udpft.errors import LocalReadFailed, PartialTransfer, SourceChanged, TimedOut
from udpft.protocol.contract import NOT_READY_S, Batch, Completed, Failed, NotReady
from udpft.protocol.params import FIN_PATIENCE_S, INITIAL_WINDOW_PACKETS, MAX_PTO_S
from udpft.protocol.recovery.loss_detection import BREAKER_S
from udpft.protocol.wire.ack import Ack, encode_ack
from udpft.protocol.wire.error import ErrorCode, Refusal, decode_error_untrusted, encode_error
from udpft.protocol.wire.fin import Fin, decode_fin_untrusted, encode_fin
from udpft.protocol.wire.packet import PacketType, decode_untrusted
from udpft.testing.network import MemorySource, random_bytes

# ------------------------------------------------------------------------------- probing, giving up


def test_a_silent_peer_is_probed_at_doubling_intervals_up_to_a_second() -> None:
    net = Sending()
    net.ack(net.data(0.0), RTT_S)
    net.pass_time(RTT_S, RTT_S + 0.05)  # the rest of the window, paced
    moments = sorted({moment for moment, _ in net.pass_time(RTT_S + 0.05, 9.0)})
    gaps = [after - before for before, after in pairwise(moments)]
    assert len(gaps) >= 8
    for gap, next_gap in pairwise(gaps):
        assert next_gap == pytest.approx(min(MAX_PTO_S, 2 * gap))


def test_a_path_that_loses_nearly_everything_for_long_is_given_up() -> None:
    net = Sending()
    net.ack(net.data(0.0), RTT_S)
    now = RTT_S
    while now < 3 * BREAKER_S and not (events := net.events()):
        lucky = [one for _, one in net.pass_time(now, now + RTT_S) if one.packet % 20 == 0]
        now += RTT_S
        if lucky:
            net.ack(lucky, now)
    [event] = events
    assert isinstance(event, Failed)
    assert isinstance(event.error, TimedOut)
    assert "loses nearly every packet" in str(event.error)
    assert BREAKER_S <= now <= 2 * BREAKER_S + 1.0


def test_a_probe_is_a_packet_or_two_that_ask_for_an_answer() -> None:
    net = Sending()
    net.data(0.0)
    probes = net.pass_time(0.0, 0.5)
    assert 1 <= len(probes) <= 2
    assert probes[-1][1].ack_request


def test_without_progress_it_gives_up_at_the_idle_timeout_and_says_so() -> None:
    net = Sending(random_bytes(400 * CHUNK))
    net.ack(net.data(0.0), RTT_S)
    net.data(RTT_S)
    net.pass_time(RTT_S, RTT_S + IDLE_S - 0.001)
    assert net.events() == []
    now = RTT_S + IDLE_S
    net.sender.handle_timeout(now)
    control = net.control(now)
    assert isinstance(net.failure(), TimedOut)
    refusals = [decode_error_untrusted(decode_untrusted(memoryview(d))) for d in control]
    assert {(r.code, r.nonce) for r in refusals} == {(ErrorCode.TIMED_OUT, NONCE)}
    assert net.sender.next_timeout() is None


def test_the_same_acknowledgement_again_is_no_progress() -> None:
    net = Sending()
    flight = net.data(0.0)
    for second in range(12):
        if net.sender.next_timeout() is None:
            break
        net.ack(flight, RTT_S + second)
        net.pass_time(RTT_S + second, RTT_S + second + 0.9)
    assert isinstance(net.failure(), TimedOut)


def test_a_long_silence_makes_it_begin_again_slowly() -> None:
    net = Sending(random_bytes(4_000 * CHUNK))
    now = 0.0
    for _ in range(8):
        flight = net.data(now) + [one for _, one in net.pass_time(now, now + RTT_S / 2)]
        now += RTT_S
        net.ack(flight, now)
    assert net.sender.congestion.window > 4 * INITIAL_WINDOW_PACKETS
    net.data(now)
    net.pass_time(now, now + 5.0)
    assert net.sender.congestion.window <= INITIAL_WINDOW_PACKETS


# --------------------------------------------------------------------------------------- the end


def unanswered_end(net: Sending, now: float) -> tuple[float, int]:
    """Let a peer be silent until the transfer is over; when that is, and how many FINs it took."""
    fins = 0
    while (at := net.sender.next_timeout()) is not None:
        now = max(now, at)
        net.sender.handle_timeout(now)
        fins += sum(type_of(datagram) is PacketType.FIN for datagram in net.control(now))
    return now, fins


def test_fin_is_repeated_until_it_is_answered_and_then_the_end_is_unconfirmed() -> None:
    net = Sending(idle_timeout_s=30.0)
    began = to_the_end(net)
    ended, fins = unanswered_end(net, began)
    assert ended == pytest.approx(began + FIN_PATIENCE_S, abs=0.1)
    assert fins > FIN_PATIENCE_S / MAX_PTO_S
    assert net.events() == [Completed(digest_of(CONTENT), confirmed=False)]


def test_a_peer_that_may_have_everything_and_falls_silent_is_an_unconfirmed_end_too() -> None:
    # The acknowledgement of the last chunk is lost, and all FIN_ACKs.
    net = Sending(CONTENT[: 9 * CHUNK + 1], idle_timeout_s=30.0)
    net.ack(net.data(0.0)[:-1], RTT_S)
    ended, _ = unanswered_end(net, RTT_S)
    assert ended == pytest.approx(RTT_S + FIN_PATIENCE_S)
    assert net.events() == [Completed(digest_of(CONTENT[: 9 * CHUNK + 1]), confirmed=False)]


def test_a_peer_that_was_never_heard_is_no_such_end() -> None:
    net = Sending(CONTENT[: 3 * CHUNK], prelude=b"\x83".ljust(100, b"\0"))
    net.sent(0.0)
    net.pass_time(0.0, 100.0)
    assert isinstance(net.failure(), TimedOut)


def test_a_disk_that_is_not_ready_to_be_compared_with_is_asked_again_in_a_moment() -> None:
    class Late(MemorySource):
        left = len(CONTENT)  # as much as is sent

        def readv(self, slots: Sequence[memoryview], offset: int, /) -> int:
            if self.left <= 0:
                raise NotReady
            got = super().readv(slots, offset)
            self.left -= got
            return got

    source = Late(CONTENT)
    source.is_suspect = True
    net, now = Sending(source=source), 0.0
    while data := net.data(now):
        now += RTT_S
        net.ack(data, now)
    assert not net.fins
    assert net.sender.next_timeout() == now + NOT_READY_S
    source.left = len(CONTENT)
    net.sent(now + NOT_READY_S)
    assert net.fins


def test_packet_numbers_that_run_out_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udpft.protocol.transfer.sender.MAX_PACKETS", 25)
    net = Sending()
    now, packets, control = 0.0, 0, list[bytes]()
    while not packets or net.sender.next_timeout() is not None:
        data, control = net.sent(now)
        packets += len(data)
        now += RTT_S
        if data:
            net.ack(data, now)
        net.sender.handle_timeout(now)
    assert "numbered" in str(net.failure())
    assert 10 < packets <= 25
    assert {type_of(datagram) for datagram in control} == {PacketType.ERROR}  # at once


def test_fin_names_the_size_and_the_digest() -> None:
    net = Sending(CONTENT[:CHUNK])
    [datagram] = [d for d in net.control(0.0) if type_of(d) is PacketType.FIN]
    packet = decode_untrusted(memoryview(datagram), NONCE)
    assert packet.connection_id == THEIRS
    assert decode_fin_untrusted(packet) == Fin(CHUNK, digest_of(CONTENT[:CHUNK]))


def test_a_fin_ack_of_another_digest_or_too_early_is_ignored() -> None:
    net = Sending()
    net.data(0.0)
    net.fin_ack(RTT_S)
    assert net.events() == []
    now = to_the_end(net, RTT_S)
    net.fin_ack(now, digest=bytes(16))
    assert net.events() == []
    net.fin_ack(now)
    assert isinstance(net.events()[0], Completed)


def test_a_fin_ack_ends_it_though_the_last_acknowledgements_were_lost() -> None:
    net = Sending(CONTENT[: 3 * CHUNK])
    net.sent(0.0)
    net.fin_ack(RTT_S)
    assert isinstance(net.events()[0], Completed)


# ------------------------------------------------------------------------------------- failures


def test_a_source_that_changed_fails_it_with_the_reason() -> None:
    net = Sending(CONTENT[:CHUNK])
    net.source.is_changed = True
    control = net.control(0.0)
    assert isinstance(net.failure(), SourceChanged)
    refusals = [decode_error_untrusted(decode_untrusted(memoryview(d))) for d in control]
    assert {refusal.code for refusal in refusals} == {ErrorCode.CHANGED}


def test_a_source_that_became_shorter_fails_it() -> None:
    net = Sending()
    net.source.content = CONTENT[:100]
    assert {type_of(d) for d in net.control(0.0)} == {PacketType.ERROR}
    assert isinstance(net.failure(), SourceChanged)


class UnreadableSource(MemorySource):
    """A file on a broken disk."""

    def readv(self, slots: object, offset: int, /) -> int:
        raise LocalReadFailed(f"cannot read {slots} at {offset}")


def test_a_source_that_cannot_be_read_fails_it() -> None:
    net = Sending(source=UnreadableSource(CONTENT))
    control = net.control(0.0)
    assert isinstance(net.failure(), LocalReadFailed)
    refusals = [decode_error_untrusted(decode_untrusted(memoryview(d))) for d in control]
    assert {refusal.code for refusal in refusals} == {ErrorCode.READ_FAILED}


@pytest.mark.parametrize(
    "lie",
    [
        Ack(0.0, 0, 0, 0, [(0, INITIAL_WINDOW_PACKETS + 1)]),
        Ack(0.0, 0, 0, 0, [(2**32 - 2, 2**32 - 1), (0, 1)]),
        Ack(0.0, 0, 42, 0, [(0, 1)]),
    ],
)
def test_acknowledging_what_was_never_sent_ends_it(lie: Ack) -> None:
    net = Sending()
    net.data(0.0)
    net.receive(encode_ack(lie, OURS, NONCE), RTT_S)
    assert isinstance(net.failure(), PartialTransfer)
    assert {type_of(d) for d in net.control(RTT_S)} == {PacketType.ERROR}


def test_an_error_from_the_receiver_ends_it_without_an_answer() -> None:
    net = Sending()
    net.data(0.0)
    refusal = Refusal(NONCE, ErrorCode.CANCELLED, "interrupted")
    net.receive(encode_error(refusal, OURS), RTT_S)
    assert str(net.failure()) == "interrupted"
    assert net.sent(RTT_S) == ([], [])


def test_what_is_not_for_a_sender_is_ignored() -> None:
    net = Sending()
    net.data(0.0)
    wrong_nonce = encode_error(Refusal(NONCE ^ 1, ErrorCode.CANCELLED, ""), OURS)
    wrong_id = encode_error(Refusal(NONCE, ErrorCode.CANCELLED, ""), OURS ^ 1)
    fin = encode_fin(PacketType.FIN, Fin(len(CONTENT), bytes(16)), OURS, NONCE)
    for datagram in (wrong_nonce, wrong_id, fin, b"", b"\x85", bytes(48)):
        net.receive(datagram.ljust(1, b"\0"), RTT_S)
    assert net.events() == []


@given(st.binary(max_size=300), st.integers(1, 300))
def test_random_bytes_have_no_effect(datagrams: bytes, segment_size: int) -> None:
    net = Sending()
    net.data(0.0)
    net.sender.handle_datagrams(Batch(bytearray(datagrams), len(datagrams), segment_size), RTT_S)
    assert net.events() == []


def test_an_abort_is_told_more_than_once_and_ends_everything() -> None:
    net = Sending()
    net.data(0.0)
    net.sender.abort(PartialTransfer("stopping"), ErrorCode.SHUTTING_DOWN)
    net.sender.abort(PartialTransfer("stopping again"))
    assert str(net.failure()) == "stopping"
    told = [type_of(datagram) for datagram in net.control(0.1)]
    assert set(told) == {PacketType.ERROR}
    assert len(told) >= 2, "one loss, and the peer would wait for nothing"
    net.sender.handle_timeout(1_000.0)
    assert net.events() == []
    assert net.sent(1_000.0) == ([], [])
