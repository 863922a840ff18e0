"""ERROR: its reason and code on the wire, and the exception that it becomes."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.protocol.wire.packets import (
    opened,
    refusals,
    u32,
)
from udpft.errors import (
    LocalReadFailed,
    LocalWriteFailed,
    NoSuchFile,
    PartialTransfer,
    ServerBusy,
    UdpftError,
)
from udpft.protocol.wire.error import (
    ERROR_TYPES,
    ErrorCode,
    Refusal,
    code_of,
    decode_error_untrusted,
    encode_error,
    reason_of,
)
from udpft.protocol.wire.packet import (
    MalformedPacket,
    PacketType,
    encode,
)


@given(refusals, u32)
def test_error_round_trips(refusal: Refusal, connection_id: int) -> None:
    again = decode_error_untrusted(opened(encode_error(refusal, connection_id)))
    assert again._replace(retry_after_s=0.0) == refusal._replace(retry_after_s=0.0)
    assert again.retry_after_s == pytest.approx(refusal.retry_after_s)


def test_a_reason_too_long_is_cut_between_characters() -> None:
    refusal = Refusal(1, ErrorCode.DENIED, "a" + "ü" * 300)
    again = decode_error_untrusted(opened(encode_error(refusal, 1)))
    assert again.reason == "a" + "ü" * 199


def test_a_reason_that_no_utf8_can_carry_is_sent_with_question_marks() -> None:
    refusal = Refusal(1, ErrorCode.NOT_FOUND, "name \udcff")
    assert decode_error_untrusted(opened(encode_error(refusal, 1))).reason == "name ?"


def test_an_error_code_of_a_later_version_reads_as_cancelled() -> None:
    datagram = bytearray(encode_error(Refusal(7, ErrorCode.BUSY, "later"), 1))
    body = datagram[16:]
    body[8:12] = (999).to_bytes(4, "little")
    refusal = decode_error_untrusted(opened(encode(PacketType.ERROR, 1, bytes(body))))
    assert refusal.code is ErrorCode.CANCELLED
    assert refusal.reason == "later"


def test_a_reason_that_is_no_text_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        decode_error_untrusted(opened(encode(PacketType.ERROR, 1, bytes(12) + b"\xff")))


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_code_becomes_an_exception_of_ours(code: ErrorCode) -> None:
    error = Refusal(0, code, "").as_error()
    assert isinstance(error, UdpftError)
    assert type(error) is ERROR_TYPES[code]
    assert str(error), "an error without words"


def test_a_reason_of_two_lines_is_a_message_and_its_hint() -> None:
    error = Refusal(0, ErrorCode.NOT_FOUND, "no such file\ndid you mean 'a'?").as_error()
    assert isinstance(error, NoSuchFile)
    assert (str(error), error.hint) == ("no such file", "did you mean 'a'?")


def test_what_the_servers_own_disk_does_is_not_this_machines_fault() -> None:
    assert isinstance(Refusal(0, ErrorCode.READ_FAILED, "I/O error").as_error(), PartialTransfer)
    assert isinstance(Refusal(0, ErrorCode.BUSY, "full").as_error(), ServerBusy)


def test_a_busy_server_says_when_to_come_back() -> None:
    busy = [Refusal(0, ErrorCode.BUSY, "full", wait_s).as_error() for wait_s in (2.5, 0.0)]
    assert [isinstance(one, ServerBusy) and one.retry_after_s for one in busy] == [2.5, 1.0]


@pytest.mark.parametrize("size", [0, 11, 12 + 401])
def test_an_error_of_an_impossible_length_is_malformed(size: int) -> None:
    with pytest.raises(MalformedPacket, match="ERROR of a wrong length"):
        decode_error_untrusted(opened(encode(PacketType.ERROR, 1, b"a" * size)))


@pytest.mark.parametrize("code", set(ErrorCode) - {ErrorCode.TIMED_OUT, ErrorCode.NO_KEY})
def test_what_the_peer_is_told_of_an_error_is_as_bad_there(code: ErrorCode) -> None:
    told = ERROR_TYPES[code]
    assert ERROR_TYPES[code_of(told("why"))] is told


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LocalWriteFailed("full"), ErrorCode.WRITE_FAILED),
        (LocalReadFailed("gone"), ErrorCode.READ_FAILED),
        (UdpftError("something else"), ErrorCode.CANCELLED),
    ],
    ids=repr,
)
def test_an_error_of_this_machine_has_a_code_of_its_own(error: UdpftError, code: ErrorCode) -> None:
    assert code_of(error) is code


def test_a_reason_has_the_hint_in_its_second_line() -> None:
    assert reason_of(NoSuchFile("no such file", hint="did you mean 'a'?")) == (
        "no such file\ndid you mean 'a'?"
    )
    assert reason_of(NoSuchFile("no such file")) == "no such file"
