"""Client's side of the handshake: RETRY, cookie, the datagram sizes probed, ACCEPT."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpft.errors import NoSuchFile, TimedOut, VersionMismatch
from udpft.protocol.handshake.agreement import agreed_chunk_size, whole_chunks
from udpft.protocol.handshake.initiator import (
    HELLO_INTERVAL_MAX_S,
    HELLO_INTERVALS_S,
    HandshakeOptions,
    Initiator,
    probe_sizes,
)
from udpft.protocol.params import (
    CHUNK_ALIGNMENT,
    CHUNK_SIZE,
    DATA_HEADER_SIZE,
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
    MIN_DATAGRAM_SIZE,
    SEAL_OVERHEAD,
    VERSION,
)
from udpft.protocol.wire.accept import Accept, encode_accept
from udpft.protocol.wire.error import ErrorCode, Refusal, encode_error
from udpft.protocol.wire.hello import NO_COOKIE, Hello, decode_hello_untrusted, encode_hello
from udpft.protocol.wire.packet import decode_untrusted
from udpft.protocol.wire.retry import Retry, encode_retry

HELLO = Hello(nonce=7, connection_id=1_234, name=b"file", chunk_size=2048, receive_room=200_000)
SECRET = bytes(range(32))

# ---------------------------------------------------------------------------- sizes and chunks


@given(st.integers(0, 2 * MAX_CHUNK_SIZE))
def test_probes_begin_with_what_is_wanted_and_end_with_what_always_fits(chunk_size: int) -> None:
    sizes = probe_sizes(min(chunk_size, MAX_CHUNK_SIZE))
    assert list(sizes) == sorted(set(sizes), reverse=True)
    assert sizes[0] == max(min(chunk_size, MAX_CHUNK_SIZE) + DATA_HEADER_SIZE, MIN_DATAGRAM_SIZE)
    assert sizes[-1] == MIN_DATAGRAM_SIZE


@given(st.integers(0, MAX_CHUNK_SIZE))
def test_with_a_key_probes_are_larger_by_what_it_adds_but_for_the_largest(chunk_size: int) -> None:
    plain, keyed = probe_sizes(chunk_size), probe_sizes(chunk_size, keyed=True)
    largest = probe_sizes(MAX_CHUNK_SIZE)[0]
    assert keyed[0] == min(plain[0] + SEAL_OVERHEAD, largest)
    assert keyed[-1] == MIN_DATAGRAM_SIZE


@given(st.integers(0, 2**64 - 1), st.integers(MIN_DATAGRAM_SIZE, 65_507))
def test_the_agreed_chunk_is_sound_and_fits_whatever_was_asked_for(
    wanted: int, hello_size: int
) -> None:
    chunk_size = agreed_chunk_size(wanted, hello_size)
    assert MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE
    assert chunk_size % CHUNK_ALIGNMENT == 0
    assert chunk_size + DATA_HEADER_SIZE <= hello_size


@pytest.mark.parametrize(
    ("wanted", "hello_size", "agreed"),
    [(2048, 2072, 2048), (2048, 1472, 1448), (0, 9000, CHUNK_SIZE), (7, 9000, CHUNK_SIZE),
     (1000, 2072, 1000), (1001, 2072, 1000), (99_999, 65_507, MAX_CHUNK_SIZE)],
)  # fmt: skip
def test_the_agreed_chunk_is_what_was_wanted_as_far_as_it_fits(
    wanted: int, hello_size: int, agreed: int
) -> None:
    assert agreed_chunk_size(wanted, hello_size) == agreed


@given(
    ranges=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), max_size=4),
    chunk_size=st.integers(1, 12),
    size=st.integers(0, 80),
)
def test_whole_chunks_are_those_with_every_byte_in_one_range(
    ranges: list[tuple[int, int]], chunk_size: int, size: int
) -> None:
    def bytes_of(chunk: int) -> set[int]:
        return set(range(chunk * chunk_size, min((chunk + 1) * chunk_size, size)))

    believed = [pair for pair in ranges if pair[1] <= size]
    expected = {
        chunk
        for chunk in range(size // chunk_size + 1)
        if bytes_of(chunk) and any(bytes_of(chunk) <= set(range(*pair)) for pair in believed)
    }
    whole = whole_chunks(ranges, chunk_size, size)
    assert {chunk for start, stop in whole for chunk in range(start, stop)} == expected


# ---------------------------------------------------------------------------------- the client


def initiator(*, ping: bool = False, **options: Any) -> Initiator:
    return Initiator(HELLO, now=0.0, options=HandshakeOptions(**options), ping=ping)


def poll_all(client: Initiator, now: float) -> list[bytes]:
    datagrams = []
    while datagram := client.poll(now):
        datagrams.append(datagram)
    return datagrams


def retry_for(
    client: Initiator, size: int, *, cookie: bytes = b"c" * 16, attempt: int = 0
) -> memoryview:
    retry = Retry(client.hello.nonce, cookie, size, VERSION, attempt)
    return memoryview(encode_retry(retry, client.hello.connection_id))


def accept_for(client: Initiator, *, chunk_size: int = 2048, nonce: int = -1) -> memoryview:
    nonce = client.hello.nonce if nonce < 0 else nonce
    accept = Accept(nonce, 99, chunk_size, size=10_000, mtime_ns=0, identity=0)
    return memoryview(encode_accept(accept, client.hello.connection_id, chunk_size))


def hello_in(datagram: bytes) -> Hello:
    return decode_hello_untrusted(decode_untrusted(memoryview(datagram)))


def test_it_begins_with_one_hello_of_each_size_largest_first() -> None:
    client = initiator()
    assert [len(datagram) for datagram in poll_all(client, 0.0)] == list(probe_sizes(2048))
    assert not poll_all(client, 0.05)


def test_it_repeats_them_until_its_time_is_over() -> None:
    client, now, repeats = initiator(connect_timeout_s=2.0), 0.0, []
    while not client.done:
        if poll_all(client, now):
            repeats.append(round(now, 6))
        now = client.next_timeout
        client.handle_timeout(now)
    waits = [*HELLO_INTERVALS_S, *[HELLO_INTERVAL_MAX_S] * 10]
    expected = [round(sum(waits[:n]), 6) for n in range(8)]
    assert repeats == [moment for moment in expected if moment < 2.0]
    assert isinstance(client.error, TimedOut)
    assert client.next_timeout == inf
    assert not poll_all(client, now)


def test_a_retry_is_answered_by_one_hello_of_its_size_with_the_cookie() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 2072), 0.03)
    [datagram] = poll_all(client, 0.03)
    assert len(datagram) == 2072
    assert hello_in(datagram).cookie == b"c" * 16
    assert client.rtt_s == pytest.approx(0.03)


def test_the_answer_to_a_larger_hello_counts_though_it_was_overtaken() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1200), 0.080)
    assert not poll_all(client, 0.081)
    client.handle(retry_for(client, 2072), 0.085)
    [datagram] = poll_all(client, 0.085)
    assert len(datagram) == 2072


def test_a_smaller_hellos_answer_is_enough_after_a_moment() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 0.080)
    moment = client.next_timeout
    assert 0.080 < moment <= 0.110
    [datagram] = poll_all(client, moment)
    assert len(datagram) == 1472


def test_larger_hellos_without_an_answer_are_sent_again_where_that_is_quick() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 0.001)
    assert sorted({len(datagram) for datagram in poll_all(client, 0.001)}) == [2072]
    client.handle(retry_for(client, 2072, attempt=1), 0.002)
    [datagram] = poll_all(client, 0.002)
    assert len(datagram) == 2072
    assert hello_in(datagram).cookie == b"c" * 16


def test_what_no_path_answers_twice_is_too_large() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 0.001)
    poll_all(client, 0.001)
    client.handle(retry_for(client, 1448), 0.001)
    moment = client.next_timeout
    assert 0.002 < moment < 0.02
    [datagram] = poll_all(client, moment)
    assert len(datagram) == 1472


def test_on_a_slow_path_hellos_do_not_fill_the_queue() -> None:
    # One that left first is answered, and the queue still has those behind it.
    client, now, sent = initiator(), 0.0, 0
    poll_all(client, now)
    client.handle(retry_for(client, 2072), 0.01)
    while now <= 2.5:
        sent += len(poll_all(client, now))
        now = client.next_timeout
    assert sent <= 3
    assert client.hello.nonce == HELLO.nonce


def test_where_answers_come_out_of_a_queue_one_by_one_it_asks_once_more_and_then_waits() -> None:
    client = initiator(connect_timeout_s=30.0)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 2072), 0.5)
    assert len(poll_all(client, 0.5)) == 1
    client.handle(retry_for(client, 1472), 0.9)
    assert [len(datagram) for datagram in poll_all(client, 0.9)] == [2072]
    client.handle(retry_for(client, 1448), 1.2)
    assert not poll_all(client, 1.2)  # it would only wait behind the others
    assert client.next_timeout >= 5.0


def test_answers_within_a_twentieth_of_a_second_come_out_of_no_queue() -> None:
    client = initiator(connect_timeout_s=30.0)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 2072), 0.5)
    poll_all(client, 0.5)
    client.handle(retry_for(client, 1472), 0.55)
    assert not poll_all(client, 0.55)


def test_where_nothing_answers_for_long_the_smallest_leaves_first() -> None:
    client, now, orders = initiator(), 0.0, []
    while now < 3.0:
        orders.append([len(datagram) for datagram in poll_all(client, now)])
        now = client.next_timeout
    assert [order[0] for order in orders[:4]] == [2072, 2072, 2072, 1200]
    assert len(orders) <= 6


def test_what_cannot_leave_this_machine_is_tried_and_not_waited_for() -> None:
    client = initiator(largest=1472)
    assert max(map(len, poll_all(client, 0.0))) == 2072
    client.handle(retry_for(client, 1472), 0.080)
    [datagram] = poll_all(client, 0.080)
    assert len(datagram) == 1472


def test_repeats_are_the_largest_that_can_leave_and_the_smallest() -> None:
    for largest, expected in ((9000, [2072, 1200]), (2071, [1472, 1200]), (1473, [1472, 1200])):
        client = initiator(largest=largest)
        poll_all(client, 0.0)
        assert [len(datagram) for datagram in poll_all(client, client.next_timeout)] == expected


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1472, [1472, 1200]), (1452, [1448, 1200]), (1200, [1200, 1200])]
)
def test_behind_a_link_like_ethernet_only_the_largest_and_the_smallest_leave_at_first(
    largest: int, sizes: list[int]
) -> None:
    client, sent = initiator(largest=largest), []
    for now in (0.0, 1.49):
        sent += [len(datagram) for datagram in poll_all(client, now)]
    assert [size for size in sent if size <= largest] == sizes
    # Then the smallest first: where nothing was answered, the path may be slow.
    repeated = [len(datagram) for datagram in poll_all(client, 1.5)]
    assert repeated == sorted(set(sizes))
    assert client.next_timeout == pytest.approx(1.8)


def test_sizes_between_are_tried_when_the_smallest_alone_was_answered() -> None:
    for answered_at, patience_s in ((0.01, 0.021), (0.2, 0.22), (1.0, 1.02)):
        client = initiator(largest=1472)
        poll_all(client, 0.0)
        client.handle(retry_for(client, 1200), answered_at)
        tried = {len(datagram) for datagram in poll_all(client, answered_at)}
        assert tried == {1472, 1448, 1392}
        assert client.next_timeout == pytest.approx(answered_at + patience_s)
        client.handle(retry_for(client, 1448, attempt=1), 2 * answered_at)
        [datagram] = poll_all(client, client.next_timeout)
        assert len(datagram) == 1448


def test_sizes_between_are_not_tried_where_even_the_smallest_took_long() -> None:
    client = initiator(largest=1472)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1200), 1.01)
    [datagram] = poll_all(client, client.next_timeout)
    assert len(datagram) == 1200
    assert client.next_timeout > 1.01 + 2 * 1.01


def test_on_a_slow_link_the_smallest_is_settled_for() -> None:
    client = initiator(largest=1472, connect_timeout_s=30.0)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 1.3)
    assert not poll_all(client, 2.2)
    client.handle(retry_for(client, 1200, cookie=b"d" * 16), 2.3)
    [datagram] = poll_all(client, 2.3)
    assert len(datagram) == 1200
    assert hello_in(datagram).cookie == b"d" * 16
    assert hello_in(datagram).rtt_us == 1_300_000
    assert client.next_timeout == pytest.approx(2.3 + 5.0)


def test_a_long_path_that_is_not_slow_carries_the_largest() -> None:
    client = initiator(largest=1472)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 1.3)
    client.handle(retry_for(client, 1200), 1.35)
    [datagram] = poll_all(client, 1.35)
    assert len(datagram) == 1472


def test_where_the_smallest_is_never_answered_the_largest_is_gone_on_with() -> None:
    client = initiator(largest=1472)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 1.3)
    assert client.next_timeout == pytest.approx(2.6)
    [datagram] = poll_all(client, 2.6)
    assert len(datagram) == 1472


def test_answers_to_what_left_before_put_a_repeat_off() -> None:
    client = initiator(largest=1472)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 0.5)
    poll_all(client, 0.5)
    before = client.next_timeout
    client.handle(retry_for(client, 1200), 0.9)
    assert client.next_timeout > before


def test_a_larger_answer_that_comes_late_on_a_slow_link_sends_nothing_again() -> None:
    client = initiator(largest=1472)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1200), 1.1)
    assert len(poll_all(client, client.next_timeout)) == 1
    client.handle(retry_for(client, 1472, cookie=b"d" * 16), 2.4)
    assert not poll_all(client, 2.4)
    [datagram] = poll_all(client, client.next_timeout)
    assert len(datagram) == 1472
    assert hello_in(datagram).cookie == b"d" * 16


@pytest.mark.parametrize(("rtt_s", "told_us"), [(0.1, 0), (0.25, 250_000)])
def test_a_long_round_trip_is_told_to_the_server(rtt_s: float, told_us: int) -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 2072), rtt_s)
    [datagram] = poll_all(client, rtt_s)
    assert hello_in(datagram).rtt_us == told_us


def test_a_round_trip_known_from_before_is_that_of_the_handshake() -> None:
    hello = HELLO._replace(cookie=b"k" * 16, rtt_us=400_000)
    client = Initiator(hello, now=0.0, options=HandshakeOptions(known_size=1472))
    poll_all(client, 0.0)
    client.handle(accept_for(client, chunk_size=1448), 0.4)
    assert client.result is not None
    assert client.result.rtt_s == pytest.approx(0.4)


def test_the_round_trip_of_sizes_tried_again_is_their_own() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 0.02)
    poll_all(client, 0.02)
    poll_all(client, 0.0611)  # the next attempt has another number
    client.handle(retry_for(client, 2072, attempt=1), 0.0612)
    assert client.rtt_s == pytest.approx(0.02)


def test_a_new_cookie_for_the_size_in_use_replaces_the_old_one() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 2072), 0.01)
    poll_all(client, 0.01)
    client.handle(retry_for(client, 2072, cookie=b"d" * 16), 0.02)
    [datagram] = poll_all(client, 0.02)
    assert hello_in(datagram).cookie == b"d" * 16


def test_a_retry_gives_the_server_a_whole_timeout_more() -> None:
    client = initiator(connect_timeout_s=2.0)
    for now in (0.0, 0.1, 0.3, 0.7, 1.5):
        poll_all(client, now)
    client.handle(retry_for(client, 2072), 1.9)
    for now in (1.9, 2.5, 3.1, 3.8):
        poll_all(client, now)
        client.handle_timeout(now)
    assert not client.done
    client.handle_timeout(3.9)
    assert isinstance(client.error, TimedOut)


def test_an_accept_ends_it_with_all_that_was_found_out() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1472), 0.03)
    poll_all(client, client.next_timeout)
    client.handle(accept_for(client, chunk_size=1448), 0.07)
    found = client.result
    assert found is not None
    assert (found.accept.chunk_size, found.accept.connection_id) == (1448, 99)
    assert (found.hello_size, found.cookie) == (1472, b"c" * 16)
    assert found.rtt_s == pytest.approx(0.03)
    assert client.done
    client.handle_timeout(100.0)
    assert client.error is None


def test_where_no_accept_comes_back_it_asks_anew_for_less() -> None:
    client, now = initiator(), 0.0
    poll_all(client, now)
    client.handle(retry_for(client, 2072), now)
    client.handle(retry_for(client, 1472), now)
    first = client.hello
    while client.hello.nonce == first.nonce:
        poll_all(client, now)
        now = client.next_timeout
    assert now < 1.5
    assert client.hello.connection_id != first.connection_id
    assert client.hello.cookie == NO_COOKIE
    # What was meant for the old request is not for the new one.
    old = Accept(first.nonce, 99, 2048, size=1, mtime_ns=0, identity=0)
    client.handle(memoryview(encode_accept(old, first.connection_id, 2072)), now)
    client.handle(memoryview(encode_accept(old, client.hello.connection_id, 2072)), now)
    assert not client.done


def test_on_a_long_path_it_does_not_ask_for_less_before_an_accept_could_come() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 2072), 1.5)
    now = 1.5
    while now < 1.5 + 1.5:
        poll_all(client, now)
        now = client.next_timeout
    client.handle(accept_for(client), 3.0)
    assert client.result is not None
    assert client.result.hello_size == 2072


def test_a_later_request_shows_its_cookie_at_once() -> None:
    hello = HELLO._replace(cookie=b"k" * 16)
    client = Initiator(hello, now=0.0, options=HandshakeOptions(known_size=1472))
    [datagram] = poll_all(client, 0.0)
    assert len(datagram) == 1472
    assert hello_in(datagram).cookie == b"k" * 16


def test_a_ping_wants_no_more_than_a_retry() -> None:
    client = initiator(ping=True)
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1200), 0.25)
    assert client.done
    assert client.rtt_s == 0.25
    assert not poll_all(client, 0.25)
    assert client.result is None
    assert client.error is None


def test_the_round_trip_is_that_of_the_attempt_that_was_answered() -> None:
    client = initiator(ping=True)
    poll_all(client, 0.0)
    poll_all(client, 0.1)
    client.handle(retry_for(client, 1200, attempt=1), 0.12)
    assert client.rtt_s == pytest.approx(0.02)


def test_the_round_trip_is_the_shortest() -> None:
    client = initiator()
    poll_all(client, 0.0)
    poll_all(client, 0.1)
    for attempt, arrived, rtt_s in ((0, 0.5, 0.5), (1, 0.52, 0.42), (1, 0.6, 0.42)):
        client.handle(retry_for(client, 1472, attempt=attempt), arrived)
        assert client.rtt_s == pytest.approx(rtt_s)


def test_another_version_of_the_protocol_is_told() -> None:
    client = initiator()
    poll_all(client, 0.0)
    retry = Retry(HELLO.nonce, b"c" * 16, 2072, VERSION + 1, 0)
    client.handle(memoryview(encode_retry(retry, HELLO.connection_id)), 0.1)
    assert isinstance(client.error, VersionMismatch)
    assert client.error.hint


def test_an_error_of_the_server_is_told() -> None:
    client = initiator()
    poll_all(client, 0.0)
    refusal = Refusal(HELLO.nonce, ErrorCode.NOT_FOUND, "no such file")
    client.handle(memoryview(encode_error(refusal, HELLO.connection_id)), 0.1)
    assert isinstance(client.error, NoSuchFile)


@pytest.mark.parametrize("chunk_size", [0, 8, 100, 2047, MAX_CHUNK_SIZE + 8, 2**32 - 8])
def test_a_chunk_size_that_cannot_be_is_not_believed(chunk_size: int) -> None:
    client = initiator()
    poll_all(client, 0.0)
    accept = Accept(HELLO.nonce, 99, chunk_size, size=1, mtime_ns=0, identity=0)
    client.handle(memoryview(encode_accept(accept, HELLO.connection_id, 200)), 0.1)
    assert not client.done


def test_answers_to_somebody_else_are_ignored() -> None:
    client = initiator()
    poll_all(client, 0.0)
    retry = Retry(HELLO.nonce ^ 1, b"c" * 16, 2072, VERSION, 0)
    refusal = Refusal(HELLO.nonce ^ 1, ErrorCode.DENIED, "no")
    for datagram in (
        encode_retry(retry, HELLO.connection_id),
        encode_retry(retry._replace(nonce=HELLO.nonce), HELLO.connection_id ^ 1),
        encode_retry(retry._replace(nonce=HELLO.nonce, hello_size=5_000), HELLO.connection_id),
        encode_error(refusal, HELLO.connection_id),
        encode_hello(HELLO, 1200),
    ):
        client.handle(memoryview(datagram), 0.01)
    client.handle(accept_for(client, nonce=HELLO.nonce ^ 1), 0.01)
    assert not client.done
    assert client.rtt_s is None


@given(st.binary(max_size=200))
def test_random_bytes_are_ignored(datagram: bytes) -> None:
    client = initiator()
    client.handle(memoryview(datagram), 0.01)
    assert not client.done


def test_an_end_that_stood_still_learns_nothing_of_the_path_and_goes_on() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 2072), 20.0)
    assert client.rtt_s is None
    assert client.hello.cookie != NO_COOKIE
    assert len(poll_all(client, 20.0)) == 1
    assert client.next_timeout <= 20.5
    client.handle_timeout(20.1)
    assert client.error is None


def test_answers_that_waited_for_an_end_that_stood_still_show_no_slow_path() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle(retry_for(client, 1448), 0.2)  # a path of some length
    poll_all(client, 0.3)
    for size in (1392, 1200, 2072):  # while it stood still, these came one by one
        client.handle(retry_for(client, size), 20.0)
    poll_all(client, 20.1)
    assert client.next_timeout <= 21.1


def test_its_patience_begins_anew_when_it_stood_still() -> None:
    client = initiator()
    poll_all(client, 0.0)
    client.handle_timeout(20.0)
    assert client.error is None
    assert poll_all(client, 20.0)
    for now in (20.2, 20.6, 21.4, 22.4, 23.4, 24.4, 24.8):
        poll_all(client, now)
        client.handle_timeout(now)
        assert client.error is None
    client.handle_timeout(25.1)
    assert client.error is not None


def test_nobody_waits_for_the_round_trip_of_a_server_that_stood_still() -> None:
    client = initiator()
    for now in (0.0, 0.1, 0.3, 0.7, *(1.5 + n for n in range(4))):
        poll_all(client, now)
    client.handle(retry_for(client, 2072), 4.9)  # to the first HELLO
    poll_all(client, 4.9)
    assert client.rtt_s == 4.9
    assert client.next_timeout <= 4.9 + 5.0
