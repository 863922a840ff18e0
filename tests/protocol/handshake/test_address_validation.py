"""Address validation: the cookies, and the server's answers before any state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from udpft.protocol.handshake.address_validation import AddressValidator, Cookies
from udpft.protocol.params import COOKIE_EPOCH_S, MIN_DATAGRAM_SIZE, RETRY_MAX_SIZE, VERSION
from udpft.protocol.wire.hello import NO_COOKIE, Hello, encode_hello
from udpft.protocol.wire.packet import decode_untrusted
from udpft.protocol.wire.retry import decode_retry_untrusted

HELLO = Hello(nonce=7, connection_id=1_234, name=b"file", chunk_size=2048, receive_room=200_000)
SECRET = bytes(range(32))

# ------------------------------------------------------------------------------------- cookies

addresses = st.binary(min_size=1, max_size=40)
sizes = st.integers(0, 65_507)
moments = st.floats(0, 1e9)


@given(addresses, sizes, moments)
def test_a_cookie_is_good_for_at_least_an_epoch_and_at_most_two(
    address: bytes, size: int, now: float
) -> None:
    cookies = Cookies(SECRET)
    cookie = cookies.make(address, size, now)
    assert cookies.check(cookie, address, size, now)
    assert cookies.check(cookie, address, size, now + 0.99 * COOKIE_EPOCH_S)
    assert not cookies.check(cookie, address, size, now + 2.01 * COOKIE_EPOCH_S)


@given(st.tuples(addresses, sizes), st.tuples(addresses, sizes))
def test_a_cookie_is_good_for_its_own_source_and_size_only(
    one: tuple[bytes, int], other: tuple[bytes, int]
) -> None:
    cookies = Cookies(SECRET)
    assert cookies.check(cookies.make(*one, now=5.0), *other, now=5.0) == (one == other)


def test_another_server_takes_no_cookie_of_ours() -> None:
    cookie = Cookies(SECRET).make(b"address", 1200, 0.0)
    assert not Cookies(bytes(32)).check(cookie, b"address", 1200, 0.0)
    assert not Cookies(SECRET).check(NO_COOKIE, b"address", 1200, 0.0)


# ---------------------------------------------------------------------------------- the server


def test_a_stranger_gets_a_retry_that_names_its_hello_and_costs_little() -> None:
    datagram = encode_hello(HELLO._replace(attempt=3), 1472)
    answer = AddressValidator(SECRET).validate_untrusted(memoryview(datagram), b"address", 0.0)
    assert isinstance(answer, bytes)
    assert len(answer) <= RETRY_MAX_SIZE
    packet = decode_untrusted(memoryview(answer))
    assert packet.connection_id == HELLO.connection_id
    retry = decode_retry_untrusted(packet)
    assert (retry.nonce, retry.hello_size, retry.version, retry.attempt) == (7, 1472, VERSION, 3)


def test_who_shows_the_cookie_is_let_in() -> None:
    door = AddressValidator(SECRET)
    answer = door.validate_untrusted(memoryview(encode_hello(HELLO, 1472)), b"address", 0.0)
    assert isinstance(answer, bytes)
    cookie = decode_retry_untrusted(decode_untrusted(memoryview(answer))).cookie
    again = memoryview(encode_hello(HELLO._replace(cookie=cookie), 1472))
    assert door.validate_untrusted(again, b"address", 1.0) == HELLO._replace(cookie=cookie)
    assert isinstance(door.validate_untrusted(again, b"elsewhere", 1.0), bytes)


@given(st.binary(max_size=3_000))
def test_whatever_is_no_hello_is_met_with_silence(datagram: bytes) -> None:
    door = AddressValidator(SECRET)
    assert door.validate_untrusted(memoryview(datagram), b"address", 0.0) is None
    disguised = b"\x81" + datagram.ljust(MIN_DATAGRAM_SIZE, b"\0")
    assert door.validate_untrusted(memoryview(disguised), b"address", 0.0) is None
